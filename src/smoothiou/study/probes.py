"""Groups of runs in, what their probes differ in out: pair by pair and box by box, with both uncertainties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smoothiou.files import read_json
from smoothiou.metrics import paired_probes, probe_numbers
from smoothiou.metrics.refinement import COLUMNS, DEFINITION
from smoothiou.study.intervals import LEAST_IMAGES, MARGIN, judged_difference, pooled_variance
from smoothiou.study.stats import BETTER, UNDECIDED, WORSE

RESAMPLES = 1000

Images = list[dict[str, Any]]


def compare_probes(
    groups: Mapping[str, Mapping[int, Images]], *, baseline: str, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return what groups of runs differ in, pair by pair and box by box, with both uncertainties: seeds and images.

    Args:
        groups: name (a loss) -> seed -> entries of localization.json, all of the same probes.
        baseline: the group that others are compared with.
        resamples: how many times the images are drawn.

    Returns:
        probe        what the probes are
        baseline     as given
        before       `probe_numbers` of the boxes as they are before any second stage
        groups       name -> seed -> `probe_numbers`
        differences  [{"candidate", "baseline", "metric" (one of `metrics.refinement.COLUMNS`), "seeds", "pairs", what
                     `judged_difference` gives, "images": {"low", "high", "resamples"}, "test_images"}]; with one pair
                     the verdict is that of the interval over images

    Raises:
        DataError: two runs do not have the same probes.
    """
    numbers = {
        name: {seed: probe_numbers(images) for seed, images in sorted(runs.items())} for name, runs in groups.items()
    }
    differences = []
    for candidate in groups:
        pairs = _pairs(groups[baseline], groups[candidate]) if candidate != baseline else []
        if pairs:
            runs = [groups[baseline][seed] for seed, _ in pairs], [groups[candidate][seed] for _, seed in pairs]
            differences += [
                {
                    "candidate": candidate,
                    "baseline": baseline,
                    "metric": row["metric"],
                    "seeds": [s for _, s in pairs],
                    **row,
                }
                for row in _differences(*runs, numbers, resamples=resamples)
            ]
    any_run = next(iter(next(iter(groups.values())).values()))  # all have the same boxes before refinement
    return {
        "probe": DEFINITION,
        "metrics": list(COLUMNS),
        "baseline": baseline,
        "before": probe_numbers([{**image, "refined": image["before"]} for image in any_run]),
        "groups": {name: {str(seed): result for seed, result in runs.items()} for name, runs in numbers.items()},
        "differences": differences,
    }


def _differences(
    baseline: list[Images], candidate: list[Images], numbers: Mapping[str, Mapping[int, Any]], *, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield the difference of paired runs in every metric that both have.

    Args:
        baseline, candidate: the runs, pair by pair.
        numbers: group -> seed -> `probe_numbers`, of all groups.
        resamples: how many times the images are drawn.
    """
    test_images = len(baseline[0])
    for metric, result in paired_probes(baseline, candidate, resamples=resamples).items():
        if math.isnan(result["difference"]):
            continue
        row = judged_difference(
            [0.0] * len(result["pairs"]),
            result["pairs"],
            margin=MARGIN["IoU" if metric.startswith(("refined_mean", "refined_from", "mean_")) else "AP"],
            covariance=result["spread"].covariance if result["spread"] else None,
            images=test_images,
            pooled=pooled_variance(
                {name: {seed: of[metric] for seed, of in runs.items()} for name, runs in numbers.items()}
            ),
            losses=len(numbers),
        )
        images = {key: result[key] for key in ("low", "high", "resamples")}
        if len(result["pairs"]) == 1 and test_images >= LEAST_IMAGES:  # of one pair the images alone can tell
            row["verdict"] = BETTER if images["low"] > 0 else WORSE if images["high"] < 0 else UNDECIDED
        yield {"metric": metric, "pairs": result["pairs"], **row, "images": images, "test_images": test_images}


def read_probes(folder: Path) -> Images | None:
    """Return what a run measured of today's probes when it ended; None where it holds none."""
    if not all((folder / name).is_file() for name in ("done", "result.json", "localization.json")):
        return None
    if read_json(folder / "result.json")["localization"].get("probe") != DEFINITION:
        return None
    images = read_json(folder / "localization.json")["images"]
    kept = [{key: image[key] for key in ("image_id", "before", "refined")} for image in images]
    return kept if any(image["refined"] for image in kept) else None


def _pairs(baseline: Mapping[int, Images], other: Mapping[int, Images]) -> list[tuple[int, int]]:
    """Return the seeds that are compared: equal ones, or the only two there are."""
    shared = [(seed, seed) for seed in sorted(baseline) if seed in other]
    if shared or len(baseline) != 1 or len(other) != 1:
        return shared
    return [(next(iter(baseline)), next(iter(other)))]
