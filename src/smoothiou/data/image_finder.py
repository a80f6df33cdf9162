"""The images that annotations name, by name or path, and nothing outside the data folder. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from smoothiou.data.listing import files_in, find_file, same_form
from smoothiou.errors import DataError
from smoothiou.files import MAX_NAME, check_word, real_path, refuse_links_out

SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "mpo", "png", "apng", "bmp", "dib", "gif"),
        *("webp", "tif", "tiff", "pnm", "ppm", "pgm", "pbm", "avif", "avifs"),
    )
)
NO_IMAGES = (".xml", ".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".html", ".md", ".zip", ".gz", ".npy", ".mat")
"""Of files that lie beside images."""


class ImageFinder:
    """Finds the images that annotations name, and nothing outside the data folder.

    Args:
        root: the data folder.
        folders: where images may lie, in the order they are searched.
        peers: those of the folders of which none goes before another: an image in two of them is ambiguous.
    """

    def __init__(self, root: Path, folders: Iterable[Path], *, peers: Iterable[Path] = ()) -> None:
        self._folders = list(dict.fromkeys(folder for folder in folders if folder.is_dir()))
        self._peers = frozenset(peers)
        self._root = root
        self._stems: dict[tuple[Path, bool], dict[str, list[Path]]] = {}

    def by_stem(self, stem: str, *, file_name: str, where: str) -> Path | None:
        """Return the image called `stem` with any ending, or None.

        Args:
            stem: a file name without its ending ("000012"), perhaps in a folder ("drive/000012").
            file_name: the image's name in the annotation, which decides between several endings; may be empty.
            where: the annotation, for messages.

        Raises:
            DataError: `file_name` or the image leads out of the data folder, or two files could be the image.
        """
        path = PurePosixPath(stem)
        named = check_file_name(file_name, where=where) if file_name else path
        stems = [same_form(path.name), *([same_form(named.stem)] if file_name else [])]
        # Where the folder of the stem has images, one elsewhere is another photo.
        below_all = [
            (folder, below)
            for folder in self._folders
            for below in dict.fromkeys((named.parent, path.parent, PurePosixPath()))
            if below.parts or not path.parent.parts or not self._index(folder / path.parent)
        ]

        def is_named(image: Path) -> bool:
            return same_form(image.name) == same_form(named.name)

        def checked(image: Path, folder: Path, below: PurePosixPath, *, known: bool) -> Path:
            if folder in self._peers:
                self._refuse_ambiguous(image, below, stems, known=known, where=where)
            return refuse_links_out(image, root=self._root, where=where)

        if file_name and same_form(named.stem) == stems[0]:  # the very file that is named goes before all others
            for folder, below in below_all:
                if image := next(filter(is_named, self._index(folder / below).get(stems[0], [])), None):
                    return checked(image, folder, below, known=True)
        for known in (True, False):  # files of other endings only where no image is called so
            for folder, below in below_all:
                candidates = next(filter(None, map(self._index(folder / below, known=known).get, stems)), [])
                if len(candidates) > 1 and not any(map(is_named, candidates)):
                    self._refuse(*candidates, where=where)
                if candidates:
                    image = next(filter(is_named, candidates), candidates[0])
                    return checked(image, folder, below, known=known)
        return None

    def _refuse_ambiguous(
        self, image: Path, below: PurePosixPath, stems: list[str], *, known: bool, where: str
    ) -> None:
        """Stop where another peer has an image of the same name, for either could be the annotated one."""
        for folder in (folder for folder in self._folders if folder in self._peers):
            index = self._index(folder / below, known=known)
            for other in next(filter(None, map(index.get, stems)), []):
                if same_form(other.name) == same_form(image.name) and real_path(other) != real_path(image):
                    self._refuse(image, other, where=where)

    def _refuse(self, *images: Path, where: str) -> None:
        names = (path.relative_to(self._root).as_posix() for path in images)
        raise DataError(
            f"{where}: its image could be {' or '.join(names)}.",
            hint="Name its file in the annotation, or put both into folders called like the split.",
        )

    def by_path(self, file_name: str, *, where: str) -> Path | None:
        """Return the image at `file_name` below one of the folders, or None.

        Raises:
            DataError: `file_name` or the image leads out of the data folder.
        """
        relative = check_file_name(file_name, where=where)
        for folder in self._folders:
            if path := find_file(folder, relative):
                if folder in self._peers:
                    others = (find_file(peer, relative) for peer in self._folders if peer in self._peers)
                    different = [other for other in others if other and real_path(other) != real_path(path)]
                    if different:
                        self._refuse(path, *different, where=where)
                return refuse_links_out(path, root=self._root, where=where)
        return None

    def stems(self) -> set[str]:
        """Return the names of all images in the folders, without their endings."""
        return {stem for folder in self._folders for stem in self._index(folder)}

    def _index(self, folder: Path, *, known: bool = True) -> dict[str, list[Path]]:
        """Return the files of a folder by name without ending: those named like images, or all but annotations."""
        if (folder, known) not in self._stems:
            index: dict[str, list[Path]] = {}
            for path in files_in(folder, *(SUFFIXES if known else [""])) if folder.is_dir() else ():
                if known or path.suffix.lower() not in (*SUFFIXES, *NO_IMAGES):
                    index.setdefault(same_form(path.stem), []).append(path)
            self._stems[folder, known] = index
        return self._stems[folder, known]


def list_images(folder: Path) -> list[Path]:
    """Return the files of a folder that are named like images, by name."""
    return files_in(folder, *SUFFIXES)


def check_file_name(file_name: str, *, where: str) -> PurePosixPath:
    """Return a file name written in an annotation as a relative path that stays below its folder.

    Args:
        file_name: as written, with slashes or backslashes between folders.
        where: the annotation, for messages.

    Raises:
        DataError: the name is empty, absolute, climbs with "..", or cannot be that of a file.
    """
    path = PurePosixPath(file_name.replace("\\", "/"))
    climbs = ".." in path.parts or "\0" in file_name
    if not path.parts or climbs or path.is_absolute() or PureWindowsPath(file_name).drive:
        raise DataError(
            f"{where}: the image name {file_name!r} must be a relative path inside the data folder.",
            hint="Write the name of the file only.",
        )
    for part in path.parts:
        check_word(part, what="image", where=where)
        if len(part.encode()) > MAX_NAME:
            raise DataError(f"{where}: the image name {part!r} has more than {MAX_NAME} bytes, as no file has.")
    return path
