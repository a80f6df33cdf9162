"""How uneven the classes of a split are. No torch."""

from __future__ import annotations

from collections.abc import Mapping

LONG = 20
"""A tail is long where the most frequent class has at least so many times the boxes of the rarest."""


def tail_note(per_class: Mapping[str, int]) -> list[str]:
    """Return a note that names the most frequent and the rarest classes, if the data has a long tail.

    A mean over classes, such as AP, then depends on classes of a few boxes.

    Args:
        per_class: boxes per class; classes without any box do not count.
    """
    ranked = sorted(((count, name) for name, count in per_class.items() if count), reverse=True)
    if not ranked or ranked[0][0] < LONG * ranked[-1][0]:
        return []
    (most, name), total = ranked[0], sum(per_class.values())
    rarest = ", ".join(f"{rare} {count}" for count, rare in ranked[:0:-1][:3])
    return [f"long tail: {name} has {most} of {total} boxes ({100 * most / total:.0f} %), the rarest classes {rarest}"]
