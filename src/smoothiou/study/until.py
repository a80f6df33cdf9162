"""When a study that adds seed after seed may stop.

Looking after every seed at a 95 % interval covers less than 95 %. Beginning with 5 seeds and stopping at the first
97.5 % interval that is narrow enough covers .95 to .97 (a 97 % interval: .944 to .97), so that interval is reported as
95 % (`benchmarks/coverage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smoothiou.errors import ConfigError, DataError
from smoothiou.study.intervals import LEAST_SEEDS, critical_value

FIRST_SEEDS, MOST_SEEDS = 5, 20
CONFIDENCE = 0.975
"""Of the interval that decides, and that is then reported as 95 %."""


class Look(NamedTuple):
    """What a look at a study decides.

    Args:
        go_on: whether another seed is to be run.
        why: "start", "wide", "known", "images", "most seeds" or "failed".
        sentence: the same for people.
    """

    go_on: bool
    why: str
    sentence: str


def stopping_rule(half_width: float, *, most_seeds: int = MOST_SEEDS) -> dict[str, Any]:
    """Return the rule as plan.json keeps it.

    Args:
        half_width: how well every AP difference has to be known, above 0 and below 1 (1 AP point is 0.01).
        most_seeds: no more than these, 3 or more.

    Raises:
        ConfigError: a value out of range.
    """
    if not 0 < half_width < 1:
        raise ConfigError(f"--until: expected more than 0 and less than 100 AP points, got {100 * half_width:g}.")
    if most_seeds < LEAST_SEEDS:
        raise ConfigError(
            f"--most-seeds: expected {LEAST_SEEDS} or more, got {most_seeds}.",
            hint="Nothing is concluded from fewer seeds.",
        )
    return {"half_width": half_width, "most_seeds": most_seeds}


def rule_in_words(rule: Mapping[str, Any]) -> str:
    """Return a stopping rule as an option would give it."""
    return f"--until {100 * rule['half_width']:g} --most-seeds {rule['most_seeds']}"


def read_rule(plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the stopping rule of a study; None where it has none.

    Raises:
        DataError: plan.json holds something else.
    """
    rule = plan.get("until")
    if rule is None:
        return None
    if not isinstance(rule, dict) or [type(rule.get(key)) for key in ("half_width", "most_seeds")] != [float, int]:
        raise DataError(f"plan.json: until: expected half_width and most_seeds, got {rule!r}.")
    return rule


def look_at(plan: Mapping[str, Any], collected: Mapping[str, Any]) -> Look | None:
    """Decide by a study's own rule whether it needs another seed; None where it has no such rule, or cells to run.

    Where a loss fails more often than not, another seed is not worth its time.

    Args:
        plan: plan.json.
        collected: "cells" and "differences" of `results.collect`.

    Raises:
        DataError: plan.json holds no valid rule.
    """
    rule = read_rule(plan)
    if rule is None:
        return None
    states = [(cell["loss"], cell["status"]) for cell in collected["cells"]]
    if any(status in ("new", "partial") for _, status in states):
        return None
    for loss in plan["losses"]:
        failed = states.count((loss, "failed"))
        if 2 * failed > len(plan["seeds"]):
            sentence = f"{loss} failed with {failed} of {len(plan['seeds'])} seeds: no more are added."
            return Look(False, "failed", sentence)
    return look(collected["differences"], seeds=len(plan["seeds"]), **rule)


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
    taken = set(seeds)
    free = (seed for seed in range(len(taken) + number) if seed not in taken)
    return [next(free) for _ in range(number)]


def _half_width(row: Mapping[str, Any], *, candidates: int) -> float:
    if row.get("error") is None:
        return math.inf
    dunnett = candidates if row["method"].startswith("Dunnett") else 1
    return critical_value(CONFIDENCE, row["degrees"], dunnett) * row["error"]
