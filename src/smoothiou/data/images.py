"""Image files: decoding by content, sizes from headers, and finding the images that annotations name. No torch."""

from __future__ import annotations

import functools
import itertools
import math
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from smoothiou.data.listing import files_in, find_file, same_form
from smoothiou.errors import DataError, bare_message
from smoothiou.files import MAX_NAME, check_word, limits, real_path, reason_of, refuse_links_out, require_regular

SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "mpo", "png", "apng", "bmp", "dib", "gif"),
        *("webp", "tif", "tiff", "pnm", "ppm", "pgm", "pbm", "avif", "avifs"),
    )
)
NO_IMAGES = (".xml", ".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".html", ".md", ".zip", ".gz", ".npy", ".mat")
"""Of files that lie beside images."""
TYPES = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
"""Read by content. Pillow knows forty more, some of which start other programs (EPS) or are hardly ever tried."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a viewer turns a picture, by EXIF's orientation, and how that is undone."""
_AS_STORED = _UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
# Tags of TIFF.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 256, 257, 258, 262, 339
_RANGE_TAGS = ((340, 341, math.nan), (280, 281, 0))
"""Black, white, and the black of a file that tells white alone (NaN: it then tells nothing)."""
_REPLACE = "Replace the file, or remove its entry."


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """Return the image as RGB, decoded by its content, whatever its name ends in.

    The first frame of an animation is taken, alpha is removed, grey of more than 8 bits is scaled to 8.

    Args:
        path: an image file of one of `TYPES`.
        upright: turn the pixels as EXIF says; else they are as stored, for boxes are drawn on these.

    Raises:
        DataError: the file is missing, cut off, no image, has more pixels than `files.limits` allows, or is grey of
            a range that the file does not tell.
    """
    with named_errors(path), open_header(path) as image:
        is_tiff, orientation = image.format == "TIFF", _orientation(image)
        pixels = _decoded(image, path)
        # Pillow turns TIFF, and nothing else.
        turn = None if is_tiff == upright else (_UPRIGHT if upright else _AS_STORED).get(orientation)
        return pixels if turn is None else pixels.transpose(turn)


def view_image(image: Image.Image, *, where: str) -> Image.Image:
    """Return an image that Pillow has opened or made as `read_image` would its file: as RGB, and upright.

    Args:
        image: of any mode, decoded or not.
        where: what messages call it.

    Raises:
        DataError: as for `read_image`, but for the limits of files.
    """
    with named_errors(where):
        pixels = _decoded(image, where)
        turn = _UPRIGHT.get(_orientation(image))  # Pillow has turned TIFF, and taken the mark away
        return pixels if turn is None else pixels.transpose(turn)


def _decoded(image: Image.Image, path: Path | str) -> Image.Image:
    """Return an image's pixels as RGB; those of a TIFF are upright, all others as stored."""
    grey_range = _grey_range(image, path)
    _load(image)
    if grey_range is not None:
        image = _scaled(image, grey_range, path)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _load(image: Image.Image) -> None:
    """Decode an image's pixels; those of a TIFF are turned by Pillow."""
    file: Any = image
    if image.format != "TIFF" or not getattr(file, "filename", ""):
        image.load()
        return
    # Uncompressed pixels of a file with a name are mapped into memory, by Pillow 13 in rows of the turned size.
    name, file.filename = file.filename, ""
    try:
        image.load()
    finally:
        file.filename = name


def image_size(path: Path) -> tuple[int, int]:
    """Return `(width, height)` from the file's header, as stored, without decoding it.

    Raises:
        DataError: as for `read_image`, as far as the header tells.
    """
    with named_errors(path), open_header(path) as image:
        return _stored_size(image)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    tags: Any = getattr(image, "tag_v2", None)  # Pillow's own size of a TIFF is that of the turned picture
    return (tags[_WIDTH], tags[_HEIGHT]) if tags is not None and image.format == "TIFF" else image.size


def _orientation(image: Image.Image) -> int:
    """Return EXIF's number; no pixel is decoded."""
    try:
        exif = Image.Image.getexif(image)  # the class's own of PNG decodes the whole image
        if image.format == "PNG" and not exif:
            exif.load(_exif_behind_pixels(getattr(image, "fp", None)))
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # broken metadata beside good pixels
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _exif_behind_pixels(file: Any) -> bytes:
    """Return the content of a PNG's chunk eXIf, wherever it stands; the file is left where it was."""
    before = file.tell()
    try:
        file.seek(8)  # behind the signature
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return file.read(size)
            file.seek(size + 4, 1)  # and its checksum
        return b""
    finally:
        file.seek(before)


def _grey_range(image: Image.Image, path: Path | str) -> tuple[float, float] | None:
    """Return the values of black and of white in grey of more than 8 bits, or signed; None for any other image.

    Raises:
        DataError: the file does not tell them.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;") and not _is_signed_8(image):
        return None
    if image.format != "TIFF":
        if image.mode == "F":
            raise _no_range(path, "floating point numbers")
        if image.mode == "I" and image.format is None:  # made by a program, and no file
            raise _no_range(path, "whole numbers of 32 bits")
        return 0, 2**16 - 1  # PNG's own range, and that to which Pillow brings any maximum of PGM
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, kind = _first(tags.get(_BITS, 8)), _first(tags.get(_SAMPLE_FORMAT, 1))
    for low, high, default in _RANGE_TAGS:
        black, white = _first(tags.get(low, default)), _first(tags.get(high, math.nan))
        if -math.inf < black < white < math.inf:
            return black, white
    if bits > 16 or kind not in (1, 2):
        what = "floating point numbers" if kind == 3 else f"whole numbers of {bits} bits"
        raise _no_range(path, what)
    return 0, 2 ** (bits - 1 if kind == 2 else bits) - 1


def _is_signed_8(image: Image.Image) -> bool:
    """Return whether an image is signed grey of 8 bits, which Pillow reads as if it were not signed."""
    tags: Any = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and image.mode == "L" and _first(tags.get(_SAMPLE_FORMAT, 1)) == 2


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _no_range(path: Path | str, what: str) -> DataError:
    return DataError(
        f"{path}: its grey values are {what}, and the file does not tell which is black and which is white.",
        hint="Save it with 8 or 16 bits.",
    )


def _scaled(image: Image.Image, grey_range: tuple[float, float], path: Path | str) -> Image.Image:
    """Return grey of any range in 8 bits.

    Raises:
        DataError: values outside the range.
    """
    black, white = grey_range
    stored = np.asarray(image)
    values = (stored.view(np.int8) if _is_signed_8(image) else stored).astype(np.float64)
    if not (values.min() >= black and values.max() <= white):
        raise DataError(
            f"{path}: its grey values reach from {values.min():g} to {values.max():g}, and black to white from "
            f"{black:g} to {white:g}.",
            hint="Save it with 8 bits, or with the range that it has.",
        )
    step = 0 if image.mode == "F" else 1  # of whole numbers, equally many become each value: the high byte of 16 bits
    scaled = np.minimum((values - black) * (256 / (white - black + step)), 255).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        scaled = 255 - scaled  # 0 is white, which Pillow minds of 8 bits only
    return Image.fromarray(scaled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """An image file, from its header alone.

    Args:
        path: of the file; None for an image that is drawn, or of which only the size is known.
        width, height: as stored, in pixels.
        kind: type of the content ("JPEG"), whatever the name ends in; "" where no header was read.
        mode: Pillow's name for its channels ("RGB", "L", "RGBA", "P", ...).
        orientation: EXIF's number, 1 to 8; 1 for an image that is displayed as stored.
        problem: why the header cannot be read; "" if it can.
    """

    path: Path | None
    width: int = 0
    height: int = 0
    kind: str = ""
    mode: str = "RGB"
    orientation: int = 1
    problem: str = ""


def read_header(path: Path) -> Photo:
    """Return what an image's header says, or why it cannot be read; no pixel is decoded."""
    try:
        with named_errors(path), open_header(path) as image:
            width, height = _stored_size(image)
            kind, mode, orientation = image.format or "", image.mode, _orientation(image)
    except DataError as error:
        return Photo(path=path, problem=bare_message(error, str(path)))
    return Photo(path=path, width=width, height=height, kind=kind, mode=mode, orientation=orientation)


def open_header(path: Path) -> Image.Image:
    """Return an image of which only the header was read."""
    require_regular(path)
    image = Image.open(path, formats=known_types())
    width, height = _stored_size(image)
    if width * height > limits().pixels:
        image.close()
        raise DataError(
            f"{path}: the image would have {width} x {height} pixels, and at most {limits().pixels:,} are decoded.",
            hint=f"Make it smaller, or allow it with --data.max_pixels {width * height}.",
        )
    try:
        _grey_range(image, path)
    except DataError:
        image.close()
        raise
    return image


@functools.cache
def known_types() -> tuple[str, ...]:
    """Return those of `TYPES` that this installation of Pillow can open."""
    Image.init()
    return tuple(name for name in TYPES if name in Image.OPEN)


@contextmanager
def named_errors(path: Path | str) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad file into one sentence with its path."""
    try:
        with warnings.catch_warnings():
            # Broken metadata beside good pixels, and sizes above Pillow's soft limit, are no reason to stop.
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such image.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image of a known type.", hint=_REPLACE) from None
    except Exception as error:  # whatever a decoder meets in bytes that nobody meant as an image
        reason = reason_of(error) or type(error).__name__
        raise DataError(f"{path}: the image cannot be read: {reason}.", hint=_REPLACE) from None


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
        inner = dict.fromkeys((path.parent, named.parent, PurePosixPath()))
        # Files of other endings only where no image is called so.
        for known, folder, below in itertools.product((True, False), self._folders, inner):
            index = self._index(folder / below, known=known)
            if candidates := next(filter(None, map(index.get, stems)), None):
                exact = (image for image in candidates if same_form(image.name) == same_form(named.name))
                image = refuse_links_out(next(exact, candidates[0]), root=self._root, where=where)
                if folder in self._peers:
                    self._refuse_ambiguous(image, below, stems, known=known, where=where)
                return image
        return None

    def _refuse_ambiguous(
        self, image: Path, below: PurePosixPath, stems: list[str], *, known: bool, where: str
    ) -> None:
        """Stop where another peer has an image of the same name, for either could be the annotated one."""
        for folder in (folder for folder in self._folders if folder in self._peers):
            index = self._index(folder / below, known=known)
            for other in next(filter(None, map(index.get, stems)), []):
                if same_form(other.name) == same_form(image.name) and real_path(other) != real_path(image):
                    names = (path.relative_to(self._root).as_posix() for path in (image, other))
                    raise DataError(
                        f"{where}: its image could be {' or '.join(names)}.",
                        hint="Put the XML beside its image, or both into folders called like the split.",
                    )

    def by_path(self, file_name: str, *, where: str) -> Path | None:
        """Return the image at `file_name` below one of the folders, or None.

        Raises:
            DataError: `file_name` or the image leads out of the data folder.
        """
        relative = check_file_name(file_name, where=where)
        for folder in self._folders:
            if path := find_file(folder, relative):
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
