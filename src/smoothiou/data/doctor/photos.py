"""Image files as the doctor sees them: headers first, and then each file decoded once. No torch."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from smoothiou.data.doctor.facts import Photo
from smoothiou.data.images import SUFFIXES, known_types, read_image
from smoothiou.errors import DataError
from smoothiou.files import allowing, limits, require_regular

ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
    "AVIF": (".avif",),
}
"""Endings that tell the truth, the usual one first."""
SIDE = 480
"""Pixels: longest side of a picture that is kept for the page."""
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Look:
    """What decoding an image gave.

    Args:
        problem: why it cannot be decoded; "" if it can.
        grey: 8 x 9 grey values of the whole image, as bytes.
        picture: a small JPEG of it, where one was wanted.
    """

    problem: str = ""
    grey: bytes = b""
    picture: bytes = b""


def header(path: Path) -> Photo:
    """Return what an image's header tells, or why it cannot be read; no pixel is decoded."""
    try:
        require_regular(path)
        with Image.open(path, formats=known_types()) as image:
            width, height = image.size
            if width * height > limits().pixels:
                problem = f"would have {width} x {height} pixels, and at most {limits().pixels:,} are decoded"
                return Photo(path=path, problem=problem)
            kind, mode = image.format or "", image.mode
            # Only of JPEG: elsewhere EXIF stands behind the pixels, or in a header of its own that costs a decoding.
            turned = image.getexif().get(_ORIENTATION, 1) if kind in ("JPEG", "MPO") else 1
    except Exception as error:  # whatever a decoder meets in bytes that nobody meant as an image
        return Photo(path=path, problem=_reason(error))
    orientation = turned if isinstance(turned, int) and 1 <= turned <= 8 else 1
    return Photo(path=path, width=width, height=height, kind=kind, mode=mode, orientation=orientation)


def look(photo: Photo, *, picture: bool) -> Look:
    """Decode an image once: all of its bytes, but of a JPEG only so many pixels as are needed.

    Args:
        photo: with a path and a header that could be read.
        picture: whether a small picture of it is wanted.
    """
    assert photo.path is not None
    try:
        if photo.kind in ("JPEG", "MPO"):
            # libjpeg reads every byte and puts an eighth of the pixels together: three times as fast.
            with Image.open(photo.path, formats=known_types()) as image:
                image.draft("RGB" if picture else "L", (SIDE, SIDE) if picture else (72, 64))
                image.load()
                pixels = image.convert("RGB" if picture else "L")
        else:
            pixels = read_image(photo.path)
    except DataError as error:
        return Look(problem=error.message.removeprefix(f"{photo.path}: ").rstrip("."))
    except Exception as error:
        return Look(problem=_reason(error))
    grey = np.asarray(pixels.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.uint8).tobytes()
    return Look(grey=grey, picture=small_jpeg(pixels) if picture else b"")


def look_at_all(
    photos: Iterable[Photo], *, pictures: set[Path], progress: Callable[[int, int], None] | None = None
) -> dict[Path, Look]:
    """Decode every image once, on all cores.

    Args:
        photos: with a path and a header that could be read; each path once.
        pictures: paths of which a small picture is wanted.
        progress: is told how many of how many are done.
    """
    wanted, allowed = list(photos), limits()

    def one(photo: Photo) -> tuple[Path, Look]:
        assert photo.path is not None
        with allowing(allowed):  # which a thread does not inherit
            return photo.path, look(photo, picture=photo.path in pictures)

    found: dict[Path, Look] = {}
    with ThreadPoolExecutor(max_workers=cores()) as pool:  # Pillow decodes without Python's lock
        for number, (path, seen) in enumerate(pool.map(one, wanted), 1):
            found[path] = seen
            if progress:
                progress(number, len(wanted))
    return found


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def small_jpeg(pixels: Image.Image) -> bytes:
    """Return a picture of at most `SIDE` pixels a side."""
    pixels = pixels.convert("RGB")
    pixels.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def unlisted(used: set[Path]) -> list[Path]:
    """Return the image files that lie beside those used, and are not used themselves."""
    found = []
    for folder in sorted({path.parent for path in used}):
        for name in sorted(os.listdir(folder)):
            path = folder / name
            if Path(name).suffix.lower() in SUFFIXES and path not in used:
                found.append(path)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "is not an image of a known type"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be read: {reason}"
