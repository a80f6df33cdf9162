"""What a check is, and what it found. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from smoothiou.data.doctor.case import Case
from smoothiou.data.doctor.facts import Example

Severity = Literal["error", "warning"]
SHOWN = 3
"""Examples that a finding names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that may be wrong with a data set.

    Args:
        id: stable name, for `--only` and `--skip`.
        severity: an error makes numbers wrong or stops a training; a warning deserves a look.
        means: what it is and what it does, in one sentence.
        fix: what to do about it, in one sentence.
        find: gives every place, the worst first.
        mends: what `--fix` does about it; "" if nothing.
        quick: whether it needs no image file, and so runs before every training.
        pixels: whether it needs every image decoded.
    """

    id: str
    severity: Severity
    means: str
    fix: str
    find: Callable[[Case], Sequence[Example]]
    mends: str = ""
    quick: bool = False
    pixels: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found."""

    check: Check
    examples: tuple[Example, ...]

    @property
    def count(self) -> int:
        """How many places there are."""
        return len(self.examples)

    def shown(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {
            "id": self.check.id,
            "severity": self.check.severity,
            "count": self.count,
            "means": self.check.means,
            "fix": self.check.fix,
            "mends": self.check.mends,
            "examples": [
                {
                    "where": example.where,
                    "message": example.message,
                    "image": example.entry.name if example.entry else None,
                    "split": example.entry.split if example.entry else None,
                    "boxes": [list(box.xyxy) for box in example.boxes],
                }
                for example in self.examples[:SHOWN]
            ],
        }
