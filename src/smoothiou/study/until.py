"""When a study that adds seed after seed may stop.

Looking after every seed at a 95 % interval covers less than 95 %. Beginning with 5 seeds and stopping at the first
97.5 % interval that is narrow enough covers .95 to .97 (a 97 % interval: .944 to .97), so that interval is reported as
95 % (`benchmarks/coverage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smoothiou.errors import ConfigError
from smoothiou.study.intervals import critical_value

FIRST_SEEDS = 5
CONFIDENCE = 0.975
"""Of the interval that decides, and that is then reported as 95 %."""


class Look(NamedTuple):
    """What a look at a study decides.

    Args:
        go_on: whether another seed is to be run.
        why: "start", "wide", "known", "images" or "most seeds".
        sentence: the same for people.
    """

    go_on: bool
    why: str
    sentence: str


def look(
    differences: Sequence[Mapping[str, Any]],
    *,
    half_width: float,
    seeds: int,
    most_seeds: int,
    metric: str = "AP",
) -> Look:
    """Decide whether a study needs another seed.

    Args:
        differences: `collect(...)["differences"]`.
        half_width: how well the difference of every candidate has to be known, 0 to 1 (1 AP point is 0.01).
        seeds: how many are planned and have been tried.
        most_seeds: no more than these.
        metric: whose difference it is.

    Raises:
        ConfigError: `half_width` is not above 0.
    """
    if not half_width > 0:
        raise ConfigError(f"--until: expected a half-width above 0, got {half_width!r}.")
    target = f"+-{100 * half_width:g} {metric} points"
    rows = [row for row in differences if row["metric"] == metric]
    if seeds < min(FIRST_SEEDS, most_seeds):
        return Look(True, "start", f"{seeds} of the {FIRST_SEEDS} seeds that a study begins with.")
    halves = {row["candidate"]: _half_width(row, candidates=len(rows)) for row in rows}
    open_ = [candidate for candidate, half in halves.items() if not half <= half_width]
    if not open_:
        return Look(False, "known", f"Every difference is known to {target} after {seeds} seeds.")
    limited = [row["candidate"] for row in rows if 2 * math.sqrt(max(row["covariance"] or 0, 0)) > half_width]
    if set(open_) <= set(limited):
        return Look(
            False,
            "images",
            f"{', '.join(open_)}: no number of seeds can give {target}; more test images are needed.",
        )
    if seeds >= most_seeds:
        return Look(False, "most seeds", f"{', '.join(open_)}: not known to {target} after {seeds} seeds, the most.")
    widest = max(halves[candidate] for candidate in open_ if candidate not in limited)
    known = f"+-{100 * widest:.2g}" if math.isfinite(widest) else "nothing"
    return Look(True, "wide", f"After {seeds} seeds the difference is known to {known}, not yet to {target}.")


def next_seeds(seeds: Sequence[int], *, number: int = 1) -> list[int]:
    """Return the smallest seeds that a study does not have yet."""
    found = set(seeds)
    free = (seed for seed in range(len(found) + number) if seed not in found)
    return [next(free) for _ in range(number)]


def _half_width(row: Mapping[str, Any], *, candidates: int) -> float:
    if row.get("error") is None:
        return math.inf
    dunnett = candidates if row["method"].startswith("Dunnett") else 1
    return critical_value(CONFIDENCE, row["degrees"], dunnett) * row["error"]
