"""A check of the doctor, and its finding. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from smoothiou.data.doctor.survey import Survey
from smoothiou.data.formats.base import Example

EXAMPLES = 3
"""Examples that a finding names."""
Find = Callable[[Survey], Sequence[Example]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that may be wrong with a data set.

    Args:
        id: stable name, for `--only` and `--skip`.
        severity: an error makes numbers wrong or stops a training; a warning deserves a look.
        means: what is wrong and what follows from it, in one sentence.
        fix: what to do about it, in one sentence.
        find: returns every example, the worst first, except those that were met in reading the annotations.
        mends: what `--fix` does about it; "" if nothing.
        quick: whether it needs no image file, and so runs before every training.
        pixels: whether it needs every image decoded.
    """

    id: str
    severity: Literal["error", "warning"]
    means: str
    fix: str
    find: Find
    mends: str = ""
    quick: bool = False
    pixels: bool = False


class Checks(list[Check]):
    """The checks of one file, in order.

    Each is a function that is named like the check, with what it means and "Fix: ..." as its docstring.
    """

    def add(self, severity: Literal["error", "warning"], **flags: Any) -> Callable[[Find], Find]:
        """Return a decorator that adds a function as a check."""

        def decorate(find: Find) -> Find:
            means, _, fix = inspect.cleandoc(find.__doc__ or "").partition("\n\nFix: ")
            id = find.__name__.replace("_", "-")
            self.append(Check(id=id, severity=severity, means=means, fix=fix, find=find, **flags))
            return find

        return decorate


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All examples of one check, in one data set."""

    check: Check
    examples: tuple[Example, ...]

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.examples)

    def as_json(self) -> dict[str, Any]:
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
                for example in self.examples[:EXAMPLES]
            ],
        }
