"""Grey of more than 8 bits, or signed: its black and white, and the same in 8 bits. No torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smoothiou.errors import DataError

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_RANGE_TAGS = ((340, 341, math.nan), (280, 281, 0))
"""Black, white, and the black of a file that tells white alone (NaN: it then tells nothing)."""


def grey_range(image: Image.Image, path: Path | str) -> tuple[float, float] | None:
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


def scale_grey(image: Image.Image, black_to_white: tuple[float, float], path: Path | str) -> Image.Image:
    """Return grey of any range in 8 bits.

    Raises:
        DataError: values outside the range.
    """
    black, white = black_to_white
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
