"""The refinement probe: boxes a little off the ground truth go in as proposals; how well they come out is the measure.

AP on a small test set moves more from seed to seed than from loss to loss, because classification and the choice of
boxes take part in it. The probe leaves both out: every ground-truth box is jittered to a known IoU, the second stage
refines it with the true class, and the IoU after stands against the IoU before. All runs get the same probes, so two
runs are compared box by box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from smoothiou.errors import DataError
from smoothiou.metrics.bootstrap import covariance_of_draws, draw_images, drawn_means, percentile_interval
from smoothiou.metrics.overlap import Array, aligned_iou, as_boxes

PROBE_IOU = (0.5, 1.0)
PROBES_PER_BOX = 10
DEFINITION = {"iou": list(PROBE_IOU), "per_box": PROBES_PER_BOX, "seed": 0}
"""What the probes of every number in this project are; stands in result.json as `localization.probe`."""

STEPS = tuple(range(50, 100, 5))
"""Hundredths of IoU: thresholds of the shares, and left edges of the curve's ten bins."""
EDGES = tuple(step / 100 for step in (*STEPS, 100))
MEAN = "refined_mean_iou"
ABOVE = {f"refined_above_{step}": step / 100 for step in STEPS}
FROM = {f"refined_from_{step}": step / 100 for step in STEPS}
HALVES = {"refined_mean_below_75": (0.0, 0.75), "refined_mean_from_75": (0.75, np.inf)}
COLUMNS = (MEAN, *ABOVE, *FROM, *HALVES)
"""refined_mean_iou: mean IoU after. refined_mean_below_75, refined_mean_from_75: the same of the probes whose IoU
before was lower, or not: opposite effects cancel in the mean of all. refined_above_75: share of the probes with a
larger IoU after. refined_from_75: mean IoU after of the probes whose IoU before lay in [.75, .80): a point of the
curve."""

# At distance 1 a probe is shifted by a whole side, or larger or smaller by a factor of exp(2): IoU below 0.5.
_FARTHEST_SHIFT, _FARTHEST_SCALE = 1.0, 2.0
_BISECTIONS = 40
_DIRECTIONS = 8


def jittered_probes(
    gt_boxes: ArrayLike,
    *,
    image_id: int,
    image_size: tuple[int, int],
    seed: int = 0,
    per_box: int = PROBES_PER_BOX,
) -> Array:
    """Return slightly wrong boxes around each ground-truth box, their IoU with it spread evenly over 0.5 to 1.

    The range of IoU is cut into `per_box` equal strata; in each one value is drawn for every box. A direction
    (shift in x and y, logarithm of the scale in x and y) is drawn too, and the probe goes so far along it, clipped
    to the image, that its IoU is that value. Of eight directions the first is taken along which it can be
    (a box at the border cannot grow outwards). The draws depend on `seed` and `image_id` alone, so every loss and
    every training seed gets the same probes.

    Args:
        gt_boxes: (T, 4) the boxes that are no ignore regions, x1, y1, x2, y2 in pixels, inside the image.
        image_id: the image's id, 0 or more.
        image_size: width and height in pixels.
        seed: of the probe, not of the training, 0 or more.
        per_box: probes per box; with 10, the default, each box stands once in each bin of the curve.

    Returns:
        (T * per_box, 4); probe i belongs to box i // per_box (`numpy.repeat(gt_boxes, per_box,
        axis=0)`) and has the lowest IoU where i % per_box is 0.

    Raises:
        DataError: boxes of another shape or not finite.
    """
    gts = as_boxes(gt_boxes, f"image {image_id}: gt_boxes")
    if not len(gts) or not per_box:
        return np.empty((0, 4))
    generator = np.random.default_rng([seed, image_id])
    low, high = PROBE_IOU
    stratum = (np.arange(per_box) + generator.random((len(gts), per_box))) / per_box
    target = low + (high - low) * stratum
    directions = 2 * generator.random((len(gts), per_box, _DIRECTIONS, 4)) - 1
    directions /= np.abs(directions).max(axis=-1, keepdims=True)
    limit = np.array([*image_size, *image_size], dtype=np.float64)

    reached = aligned_iou(_moved(gts[:, None, None], directions, np.float64(1), limit), gts[:, None, None])
    chosen = (reached < target[..., None]).argmax(axis=-1)[..., None, None]
    direction = np.take_along_axis(directions, chosen, axis=2)[:, :, 0]
    near, far = np.zeros_like(target), np.ones_like(target)
    for _ in range(_BISECTIONS):  # IoU is at least the target at `near`, and no more than that at `far`
        middle = (near + far) / 2
        near_enough = aligned_iou(_moved(gts[:, None], direction, middle[..., None], limit), gts[:, None]) >= target
        near, far = np.where(near_enough, middle, near), np.where(near_enough, far, middle)
    return _moved(gts[:, None], direction, near[..., None], limit).reshape(-1, 4)


def _moved(gts: Array, direction: Array, distance: Any, limit: Array) -> Array:
    """Return the gts moved along a direction (..., 4) by a distance of 0 to 1, clipped to the image."""
    side = gts[..., 2:] - gts[..., :2]
    center = (gts[..., 2:] + gts[..., :2]) / 2 + side * _FARTHEST_SHIFT * distance * direction[..., :2]
    half = side * np.exp(_FARTHEST_SCALE * distance * direction[..., 2:]) / 2
    return np.clip(np.concatenate([center - half, center + half], axis=-1), 0, limit)


def probe_numbers(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what one run's probes say.

    Args:
        images: entries of localization.json: "image_id", "before" and "refined", the IoU of each probe with its
            ground truth before and after the second stage.

    Returns:
        "probes", how many; "mean_before"; and every one of `COLUMNS`, NaN where it runs over nothing.

    Raises:
        DataError: an entry lacks a key, or its lists do not belong together.
    """
    sums, counts = _sums(images, "images")
    before = np.concatenate([np.empty(0), *(np.asarray(entry["before"], float) for entry in images)])
    means = _ratio(sums.sum(axis=0), counts.sum(axis=0)).tolist()
    return {
        "probes": len(before),
        "mean_before": float(before.mean()) if len(before) else float("nan"),
        **dict(zip(COLUMNS, means, strict=True)),
    }


def paired_probes(
    baseline: Sequence[Sequence[Mapping[str, Any]]],
    candidate: Sequence[Sequence[Mapping[str, Any]]],
    *,
    resamples: int = 1000,
) -> dict[str, dict[str, Any]]:
    """Return what the candidate's runs gain over the baseline's, box by box, in every one of `COLUMNS`.

    The difference is taken per box and averaged over the pairs of runs. Its interval comes from drawing the images
    with replacement, all boxes of an image together, because boxes of one image share its light and its focus.

    Args:
        baseline: for each pair the baseline's entries of localization.json.
        candidate: for each pair the candidate's; the same images, and the same IoU before.
        resamples: how many times the images are drawn, 1 or more.

    Returns:
        For each column {"difference": candidate - baseline, "low", "high": the 95 % percentile interval over
        images, "pairs": the difference of each pair, "resamples", "spread": `covariance_of_draws`}; NaN where it runs
        over nothing.

    Raises:
        DataError: two runs do not have the same probes, or an entry lacks a key.
        ConfigError: `resamples` is below 1.
    """
    _require_same_probes([*baseline, *candidate])
    gains, numbers = [], np.zeros((0, len(COLUMNS)))
    for first, second in zip(baseline, candidate, strict=True):
        first, second = (sorted(images, key=lambda entry: entry["image_id"]) for images in (first, second))
        base, numbers = _sums(first, "baseline")
        gains.append(_sums(second, "candidate")[0] - base)
    counts = draw_images(len(numbers), resamples=resamples)
    drawn = np.stack([drawn_means(gain, numbers, counts) for gain in gains])
    pairs = np.stack([_ratio(gain.sum(axis=0), numbers.sum(axis=0)) for gain in gains])
    differences = _ratio(np.mean(gains, axis=0).sum(axis=0), numbers.sum(axis=0))
    rows = {}
    for index, column in enumerate(COLUMNS):
        low, high = percentile_interval(drawn[..., index].mean(axis=0))
        rows[column] = {
            "difference": float(differences[index]),
            "low": low,
            "high": high,
            "pairs": pairs[:, index].tolist(),
            "resamples": resamples,
            "spread": covariance_of_draws(drawn[..., index]),
        }
    return rows


def _require_same_probes(runs: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    for first, second in pairwise({entry["image_id"]: entry.get("before") for entry in run} for run in runs):
        different = [image for image in {*first, *second} if first.get(image) != second.get(image)]
        if different:
            raise DataError(
                f"probe: image {min(different)} has other probes in one of two runs that are compared.",
                hint="Measure both on the same data with the same version: `smoothiou probe RUN RUN --fresh`.",
            )


def _sums(images: Sequence[Mapping[str, Any]], where: str) -> tuple[Array, Array]:
    """Return for each image the sum of every column and over how many probes it runs, (I, columns) each."""
    sums, counts = np.zeros((len(images), len(COLUMNS))), np.zeros((len(images), len(COLUMNS)))
    for index, entry in enumerate(images):
        missing = [key for key in ("image_id", "before", "refined") if key not in entry]
        if missing:
            raise DataError(f"{where}[{index}]: {missing[0]} is missing.")
        before, after = np.asarray(entry["before"], float), np.asarray(entry["refined"], float)
        if before.shape != after.shape:
            raise DataError(f"{where}[{index}]: expected as many IoU before as after, got {len(before)}, {len(after)}.")
        # The right edge, 1, belongs to the last bin; what lies below the range belongs to none.
        bins = np.minimum(np.digitize(before, EDGES), len(STEPS)) - 1
        inside = bins >= 0
        halves = [(low <= before) & (before < high) for low, high in HALVES.values()]
        sums[index] = [
            after.sum(),
            *((after > threshold).sum() for threshold in ABOVE.values()),
            *np.bincount(bins[inside], weights=after[inside], minlength=len(STEPS)),
            *(after[half].sum() for half in halves),
        ]
        counts[index] = [
            *[len(after)] * (1 + len(ABOVE)),
            *np.bincount(bins[inside], minlength=len(STEPS)),
            *(half.sum() for half in halves),
        ]
    return sums, counts


def _ratio(sums: Array, counts: Array) -> Array:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
