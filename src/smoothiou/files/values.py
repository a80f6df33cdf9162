"""Numbers, flags and sizes as strangers' files write them: understood in any form, or refused with a name. No torch."""

from __future__ import annotations

import re
from typing import Any

from smoothiou.errors import DataError
from smoothiou.files.untrusted import short

MAX_SIDE = 2**31
"""Pixels of a side in an annotation; no image has more."""
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|\s*[-+]?(nan|inf|infinity)\s*", re.ASCII | re.I)


def read_number(value: Any) -> float | None:
    """Return a number, written as a number (3, 3.0) or as text ("3"); None if it is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of 400 digits
        return float("inf")


def read_flag(value: Any, *, name: str, where: str) -> bool:
    """Return whether a flag is set: 0 or 1, in any form of a number, or JSON's own false or true.

    Args:
        value: as written.
        name: of the flag, for messages.
        where: the annotation, for messages.

    Raises:
        DataError: it is anything else: Python would call "0", "false" and NaN true.
    """
    number = float(value) if isinstance(value, bool) else read_number(value)
    if number not in (0, 1):
        raise DataError(f'{where}: "{name}" must be 0 or 1, got {short(value)}.', hint="Write 0 or 1.")
    return number == 1


def read_size(width: Any, height: Any, *, where: str) -> tuple[int, int] | None:
    """Return an image's width and height in pixels, at most `MAX_SIDE`, or None if the annotation gives neither.

    Args:
        width, height: as written: 960, 960.0 or "960"; None or "" if nothing is.
        where: the annotation, for messages.

    Raises:
        DataError: one is missing, or no whole number.
    """
    if all(value is None or value == "" for value in (width, height)):
        return None
    sides = []
    for name, value in (("width", width), ("height", height)):
        number = read_number(value)
        if number is None or not number.is_integer():
            raise DataError(
                f'{where}: "{name}" must be a whole number of pixels, got {short(value)}.',
                hint="Repair it, or remove it.",
            )
        sides.append(int(min(max(number, -1), MAX_SIDE)))
    return sides[0], sides[1]
