"""Every image file decoded once, on all cores. No torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from smoothiou.data.images import Photo, named_errors, open_header, read_image
from smoothiou.errors import DataError, bare_message
from smoothiou.files import allowing, limits
from smoothiou.manifest import usable_cores

SIDE = 480
"""Pixels: longest side of a picture for the page."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of decoding an image.

    Args:
        problem: why it cannot be decoded; "" if it can.
        grey: 8 x 9 grey values of the whole image, as bytes.
        picture: a small JPEG of it, where one was requested.
    """

    problem: str = ""
    grey: bytes = b""
    picture: bytes = b""


def decode(path: Path, *, kind: str, picture: bool) -> Decoded:
    """Decode an image once: all of its bytes, but of a JPEG only so many pixels as are needed.

    Args:
        path: of a file whose header can be read.
        kind: its type, from the header.
        picture: whether a small picture of it is kept.
    """
    try:
        if kind in ("JPEG", "MPO"):
            # libjpeg reads every byte and puts an eighth of the pixels together: three times as fast.
            with named_errors(path), open_header(path) as image:
                image.draft("RGB" if picture else "L", (SIDE, SIDE) if picture else (72, 64))
                image.load()
                pixels = image.convert("RGB" if picture else "L")
        else:
            pixels = read_image(path)
    except DataError as error:
        return Decoded(problem=bare_message(error, str(path)))
    grey = np.asarray(pixels.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.uint8).tobytes()
    return Decoded(grey=grey, picture=small_jpeg(pixels) if picture else b"")


def decode_all(
    photos: Sequence[Photo], *, pictures: set[Path], progress: Callable[[int, int], None] | None = None
) -> dict[Path, Decoded]:
    """Decode every image once.

    Args:
        photos: with readable headers; each path once.
        pictures: paths of which a small picture is kept.
        progress: called with the number of images done and of all.
    """
    kinds = {photo.path: photo.kind for photo in photos if photo.path}
    allowed = limits()

    def one(path: Path) -> Decoded:
        with allowing(allowed):  # which a thread does not inherit
            return decode(path, kind=kinds[path], picture=path in pictures)

    decoded: dict[Path, Decoded] = {}
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:  # Pillow decodes without Python's lock
        for path, result in zip(kinds, pool.map(one, kinds), strict=True):
            decoded[path] = result
            if progress:
                progress(len(decoded), len(kinds))
    return decoded


def small_jpeg(pixels: Image.Image) -> bytes:
    """Return a picture of at most `SIDE` pixels a side."""
    pixels = pixels.convert("RGB")
    pixels.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
