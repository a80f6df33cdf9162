"""Image files: decoding by content, and sizes from headers. No torch."""

from __future__ import annotations

import functools
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from smoothiou.data.grey import grey_range, scale_grey
from smoothiou.errors import DataError, bare_message
from smoothiou.files import limits, reason_of, require_regular

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
_WIDTH, _HEIGHT = 256, 257
"""Tags of TIFF."""
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
    black_to_white = grey_range(image, path)
    _load(image)
    if black_to_white is not None:
        image = scale_grey(image, black_to_white, path)
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
        grey_range(image, path)
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
