"""Groups of runs in, what their probes differ in out: pair by pair and box by box, with both doubts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from smoothiou.metrics import paired_probes, probe_numbers
from smoothiou.metrics.refinement import COLUMNS, DEFINITION
from smoothiou.study.stats import BETTER, UNDECIDED, WORSE, paired_difference, undecided

RESAMPLES = 1000

LEAST_IMAGES = 10
"""Images below which nothing is called better or worse: drawing them anew says too little of others."""

Images = list[dict[str, Any]]


def compare_probes(
    groups: Mapping[str, Mapping[int, Images]], *, baseline: str, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return what groups of runs differ in, pair by pair and box by box, with both doubts: seeds and images.

    Args:
        groups: name (a loss) -> seed -> entries of localization.json, all of the same probes.
        baseline: the group that others are compared with.
        resamples: how many times the images are drawn.

    Returns:
        probe        what the probes are
        baseline     as given
        groups       name -> seed -> `probe_numbers`
        differences  [{"candidate", "baseline", "metric" (a column of `evaluate.probe`), "seeds", what
                     `paired_difference` gives over seeds, "images": {"low", "high", "resamples"}, "verdict"}];
                     the verdict is "better" or "worse" only where both intervals leave out 0 (with one pair: the
                     one over images), and where there are at least `LEAST_IMAGES` images

    Raises:
        DataError: two runs do not have the same probes.
    """
    differences = []
    for candidate in groups:
        pairs = _pairs(groups[baseline], groups[candidate]) if candidate != baseline else []
        if not pairs:
            continue
        below = [groups[baseline][own] for own, _ in pairs]
        above = [groups[candidate][other] for _, other in pairs]
        for metric, found in paired_probes(below, above, resamples=resamples).items():
            if math.isnan(found["difference"]):
                continue
            seeds = paired_difference([0.0] * len(pairs), found["pairs"])
            images = {key: found[key] for key in ("low", "high", "resamples")}
            few = f"fewer than {LEAST_IMAGES} images" if len(below[0]) < LEAST_IMAGES else ""
            entry = {
                "candidate": candidate,
                "baseline": baseline,
                "metric": metric,
                "seeds": [other for _, other in pairs],
                "pairs": found["pairs"],
                **seeds,
                "images": images,
                "verdict": _verdict(seeds, images),
            }
            differences.append(undecided(entry, "; ".join(filter(None, (seeds["reason"], few))) if few else ""))
    return {
        "probe": DEFINITION,
        "metrics": list(COLUMNS),
        "baseline": baseline,
        "groups": {
            name: {str(seed): probe_numbers(images) for seed, images in sorted(runs.items())}
            for name, runs in groups.items()
        },
        "differences": differences,
    }


def _pairs(own: Mapping[int, Images], other: Mapping[int, Images]) -> list[tuple[int, int]]:
    """Return the seeds that are compared: equal ones, or the only two there are."""
    shared = [(seed, seed) for seed in sorted(own) if seed in other]
    if shared or len(own) != 1 or len(other) != 1:
        return shared
    return [(next(iter(own)), next(iter(other)))]


def _verdict(seeds: Mapping[str, Any], images: Mapping[str, float]) -> str:
    over_images = BETTER if images["low"] > 0 else WORSE if images["high"] < 0 else UNDECIDED
    return over_images if seeds["n"] < 2 or seeds["verdict"] == over_images else UNDECIDED
