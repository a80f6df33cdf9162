"""What a table is made of, and how its numbers and verdicts are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smoothiou.report.material import Metric
from smoothiou.study.stats import BETTER, UNDECIDED, WORSE, verdict_in_words

NOTHING = "–"
KINDS = {BETTER: "better", WORSE: "worse", UNDECIDED: "same"}


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table.

    Args:
        text: the number or word.
        detail: its interval, written small beneath.
        strong: in bold: the best, and distinguishable.
        value: what a column is sorted by.
        kind: a class for its look: "better", "worse", "same" or "unknown".
    """

    text: str
    detail: str = ""
    strong: bool = False
    value: float | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: what it is about, and a cell per column.

    Args:
        head: the row's name.
        cells: one per column.
        loss: the loss whose mark stands before the name, if any.
        kind: "wins" | "loss" | "difference" | "".
    """

    head: str
    cells: list[Cell]
    loss: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption and the sentences that say how to read it."""

    key: str
    caption: str
    corner: str
    columns: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def write(value: float | None, metric: Metric, *, signed: bool = False) -> str:
    """Return a number of 0 to 1 in a metric's form, with a true minus sign; a dash for None."""
    if value is None:
        return NOTHING
    shown, digits = (100 * value, 2) if metric.percent else (value, 4)
    shown = round(shown, digits) + 0.0  # what looks like nothing has no minus: -0.0 + 0.0 is 0.0
    return f"{shown:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def interval(entry: dict[str, Any], metric: Metric) -> str:
    """Return `[low, high]` of a difference, or a dash where there is no interval."""
    if entry.get("low") is None or entry.get("high") is None:
        return NOTHING
    return f"[{write(entry['low'], metric, signed=True)}, {write(entry['high'], metric, signed=True)}]"


def verdict_words(entry: dict[str, Any]) -> tuple[str, str]:
    """Return the plain verdict of a paired difference and its kind: better, worse, same or unknown."""
    if entry["n"] < 2 or entry.get("low") is None:
        return "one seed proves nothing", "unknown"
    return verdict_in_words(entry), "unknown" if entry.get("reason") else KINDS[entry["verdict"]]
