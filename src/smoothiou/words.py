"""Numbers in words. No torch."""

from __future__ import annotations


def counted(number: int | str, one: str, many: str = "") -> str:
    """Return `1 image` or `3 images`.

    Args:
        number: how many; a text where that is not known.
        one: the noun of one.
        many: the noun of several, where it is not `one` with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
