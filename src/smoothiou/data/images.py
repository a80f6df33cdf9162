"""Image files: decoding by content, sizes from headers, and finding the images that annotations name. No torch."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from smoothiou.data.faults import bare_message
from smoothiou.errors import DataError
from smoothiou.files import MAX_NAME, check_word, is_inside, leads_out, limits, real_folder, require_regular

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"})
TYPES = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
"""Read by content. Pillow knows forty more, some of which start other programs (EPS) or are hardly ever tried."""
_ORIENTATION = 0x0112
_REPLACE = "Replace the file, or remove its entry."


def read_image(path: Path) -> Image.Image:
    """Return the image as RGB, decoded by its content, whatever its name ends in.

    The first frame of an animation is taken, alpha is removed, 16-bit grey is scaled to 8 bits. An EXIF rotation is
    not applied: boxes are drawn on the pixels as stored.

    Args:
        path: an image file of one of `TYPES`.

    Raises:
        DataError: the file is missing, cut off, no image, or has more pixels than `files.limits` allows.
    """
    with named_errors(path), open_header(path) as image:
        image.load()
        if image.mode.startswith("I;16"):
            # Pillow cuts 16-bit values off at 255; the high byte is what one means.
            return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode == "P" and "transparency" in image.info:
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")


def image_size(path: Path) -> tuple[int, int]:
    """Return `(width, height)` from the file's header, without decoding it.

    Raises:
        DataError: the file is missing, no image, or has more pixels than `files.limits` allows.
    """
    with named_errors(path), open_header(path) as image:
        return image.size


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
            (width, height), kind = image.size, image.format or ""
            # Only of JPEG: elsewhere EXIF stands behind the pixels, or in a header of its own that costs a decoding.
            turned = image.getexif().get(_ORIENTATION, 1) if kind in ("JPEG", "MPO") else 1
            mode = image.mode
    except DataError as error:
        return Photo(path=path, problem=bare_message(error, str(path)))
    orientation = turned if isinstance(turned, int) and 1 <= turned <= 8 else 1
    return Photo(path=path, width=width, height=height, kind=kind, mode=mode, orientation=orientation)


def open_header(path: Path) -> Image.Image:
    """Return an image of which only the header was read."""
    require_regular(path)
    image = Image.open(path, formats=known_types())
    width, height = image.size
    if width * height > limits().pixels:
        image.close()
        raise DataError(
            f"{path}: the image would have {width} x {height} pixels, and at most {limits().pixels:,} are decoded.",
            hint=f"Make it smaller, or allow it with --data.max_pixels {width * height}.",
        )
    return image


@functools.cache
def known_types() -> tuple[str, ...]:
    """Return those of `TYPES` that this installation of Pillow can open."""
    Image.init()
    return tuple(name for name in TYPES if name in Image.OPEN)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
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
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: the image cannot be read: {reason}.", hint=_REPLACE) from None


class ImageFinder:
    """Finds the images that annotations name, and nothing outside the data folder.

    Args:
        root: the data folder.
        folders: where images may lie, in the order they are searched.
    """

    def __init__(self, root: Path, folders: Iterable[Path]) -> None:
        self._folders = list(dict.fromkeys(folder for folder in folders if folder.is_dir()))
        self._root = real_folder(root)
        self._stems: dict[Path, dict[str, list[Path]]] = {}

    def by_stem(self, stem: str, *, file_name: str, where: str) -> Path | None:
        """Return the image called `stem` with any ending, or None.

        Args:
            stem: a file name without its ending ("000012").
            file_name: the image's name in the annotation, which decides between several endings; may be empty.
            where: the annotation, for messages.

        Raises:
            DataError: `file_name` or the image leads out of the data folder.
        """
        name = check_file_name(file_name, where=where).name if file_name else ""
        for folder in self._folders:
            candidates = self._index(folder).get(stem) or self._index(folder).get(PurePosixPath(name).stem, [])
            if candidates:
                return self._check_inside(next((p for p in candidates if p.name == name), candidates[0]), where)
        return None

    def by_path(self, file_name: str, *, where: str) -> Path | None:
        """Return the image at `file_name` below one of the folders, or None.

        Raises:
            DataError: `file_name` or the image leads out of the data folder.
        """
        relative = check_file_name(file_name, where=where)
        for folder in self._folders:
            path = folder / relative
            if os.path.isfile(path):  # not is_file, which stops at a path that is too long
                return self._check_inside(path, where)
        return None

    def stems(self) -> set[str]:
        """Return the names of all images in the folders, without their endings."""
        return {stem for folder in self._folders for stem in self._index(folder)}

    def _index(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._stems:
            index: dict[str, list[Path]] = {}
            for path in list_images(folder):
                index.setdefault(path.stem, []).append(path)
            self._stems[folder] = index
        return self._stems[folder]

    def _check_inside(self, path: Path, where: str) -> Path:
        if not limits().links and not is_inside(path, (self._root,)):
            raise leads_out(path, where)
        return path


def list_images(folder: Path) -> list[Path]:
    """Return the files of a folder that are named like images, by name."""
    return [folder / name for name in sorted(os.listdir(folder)) if Path(name).suffix.lower() in SUFFIXES]


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
