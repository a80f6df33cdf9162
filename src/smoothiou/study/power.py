"""Which difference in AP a study can detect, before it runs: from its own first seeds or an earlier study. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.engine.config import RunConfig, read_recipe
from smoothiou.progress import duration
from smoothiou.study.intervals import LEAST_SEEDS, MOST_SEEDS, Uncertainty, critical_value
from smoothiou.study.results import collect
from smoothiou.study.until import CONFIDENCE, FIRST_SEEDS, read_rule

POWER = 0.8
"""How often a difference is found that a study is said to detect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How much the AP difference of two losses moved in earlier runs.

    Args:
        sd: standard deviation over seeds, 0 to 1.
        covariance: from the test images (`study.intervals`); None where the study does not have it.
        images: test images there.
        pairs: differences that the standard deviation is of.
        source: where they stand.
    """

    sd: float
    covariance: float | None
    images: int
    pairs: int
    source: str


EARLIER: Mapping[str, Spread] = {
    "bccd": Spread(sd=0.0090, covariance=None, images=72, pairs=12, source="docs/paper.md and docs/results/bccd.md"),
    "pets": Spread(sd=0.0335, covariance=None, images=128, pairs=12, source="docs/paper.md and docs/results/pets.md"),
    "quick": Spread(sd=0.0193, covariance=0.39e-4, images=80, pairs=10, source="docs/results/quick.md"),
}
"""Recipe -> its spread; docs/statistics.md, "What a study can detect", says how they were derived."""

SETTINGS = (
    "model.name", "model.weights", "model.min_size", "model.max_size", "optim.name", "optim.lr", "train.steps",
    "train.batch_size",
)  # fmt: skip
"""Settings in which a study must agree with a recipe for its spread to be expected."""


def expected_spread(plan: Mapping[str, Any], folder: str | Path | None = None) -> Spread | None:
    """Return the spread of a study's own finished seeds, or else of an earlier study of its recipe; None if unknown.

    Args:
        plan: of the study.
        folder: of the study, if there is one; of several candidates the widest counts.
    """
    rows = collect(folder)["differences"] if folder and (Path(folder) / "plan.json").is_file() else []
    known = [row for row in rows if row["metric"] == "AP" and row["n"] >= LEAST_SEEDS and row["sd"]]
    if known:
        widest = max(known, key=lambda row: row["sd"])
        images, source = widest["images"] or 2, f"the {widest['n']} seeds of this study"
        return Spread(sd=widest["sd"], covariance=widest["covariance"], images=images, pairs=widest["n"], source=source)
    settings = plan["settings"]
    for recipe, spread in EARLIER.items():
        of_recipe = RunConfig().replace(read_recipe(recipe)).flat()
        drawn = of_recipe["data.path"] == "shapes"
        same_data = not drawn or all(
            settings[key] == of_recipe[key] for key in ("data.path", "data.images", "data.size")
        )
        if same_data and all(settings[key] == of_recipe[key] for key in SETTINGS):
            return spread
    return None


def power_of(
    plan: Mapping[str, Any], folder: str | Path | None, *, run_seconds: float | None, jobs: int = 1
) -> dict[str, Any]:
    """Return what a study can detect, for `--dry-run`.

    Args:
        plan: of the study.
        folder: of the study.
        run_seconds: of a run; None where not known.
        jobs: cells that run at once.

    Returns:
        AP: the difference that it detects (see `detectable`); sd: the spread it follows from; None where not known.
        until_seeds: about how many seeds its stopping rule will need; None without a rule, or where no number will do.
        sentence: the same for people.
    """
    spread, seeds, losses = expected_spread(plan, folder), len(plan["seeds"]), len(plan["losses"])
    facts: dict[str, Any] = {"AP": None, "sd": None, "until_seeds": None}
    if losses < 2:
        return {**facts, "sentence": "One loss: there is no difference to detect."}
    few = f"Fewer than {LEAST_SEEDS} seeds conclude nothing." if seeds < LEAST_SEEDS else ""
    if spread is None:
        text = "What it can detect: unknown spread of these settings; the first 3 seeds will tell."
        return {**facts, "sentence": f"{few} {text}".strip()}
    images = _test_images(plan) or spread.images
    difference = detectable(spread, seeds=seeds, images=images, losses=losses)
    facts |= {"AP": difference, "sd": spread.sd}
    more = "" if spread.covariance is not None else "; uncertainty from the test images comes on top"
    basis = f"by {spread.source}: standard deviation {100 * spread.sd:.1f} over {spread.pairs} pairs of runs{more}"
    points = f"{100 * (difference or 0):.1f} AP points"
    text = few or f"With {seeds} seeds it finds a difference of {points} 4 times of 5 ({basis})."
    if rule := read_rule(plan):
        facts["until_seeds"] = enough = seeds_until(spread, rule["half_width"], images=images, losses=losses)
        text += _until_in_words(rule, enough, losses=losses, run_seconds=run_seconds, jobs=jobs)
    return {**facts, "sentence": text}


def _until_in_words(
    rule: Mapping[str, Any], seeds: int | None, *, losses: int, run_seconds: float | None, jobs: int
) -> str:
    target = f" Known to +-{100 * rule['half_width']:g} AP points"
    if seeds is None:
        return f"{target}: not even with {MOST_SEEDS} seeds; more test images may help."
    number = min(seeds, rule["most_seeds"])
    time = f", {duration(run_seconds * -(-losses * number // jobs))}" if run_seconds is not None else ""
    if seeds > number:
        return f"{target}: about {seeds} seeds, more than the {number} that it may take{time}."
    return f"{target}: about {seeds} seeds{time}."


def _test_images(plan: Mapping[str, Any]) -> int | None:
    return ((plan["data"].get("test") or {}).get("counts") or {}).get("images")


def detectable(spread: Spread, *, seeds: int, images: int, losses: int = 2) -> float | None:
    """Return the difference in AP that a study finds in 8 of 10 cases; None where it concludes nothing.

    The uncertainty from the test images falls with their number. A spread of three seeds is itself known to a factor of
    2 at best.

    Args:
        spread: that is expected.
        seeds: of the study.
        images: in its test split.
        losses: of the study, the baseline included.
    """
    if seeds < LEAST_SEEDS:
        return None
    uncertainty = _uncertainty(spread, seeds, images, losses)
    quantile = critical_value(2 * POWER - 1, uncertainty.degrees)  # of .8
    return uncertainty.half_width(0.95) + quantile * uncertainty.error


def seeds_until(spread: Spread, half_width: float, *, images: int, losses: int = 2) -> int | None:
    """Return about how many seeds `--until` will need; None where no number is enough."""
    if 2 * math.sqrt(max(spread.covariance or 0, 0) * spread.images / images) > half_width:
        return None
    for seeds in range(FIRST_SEEDS, MOST_SEEDS):
        if _uncertainty(spread, seeds, images, losses).half_width(CONFIDENCE) <= half_width:
            return seeds
    return None


def _uncertainty(spread: Spread, seeds: int, images: int, losses: int) -> Uncertainty:
    return Uncertainty(
        seeds=seeds, variance=spread.sd**2, degrees_of_variance=(losses - 1) * (seeds - 1),
        covariance=(spread.covariance or 0.0) * spread.images / images, images=images, losses=losses,
    )  # fmt: skip
