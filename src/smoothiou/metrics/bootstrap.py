"""Other test images: metrics of a detector on images that are drawn anew with replacement.

An image that is drawn twice counts as two images. Detections are matched once; a draw only changes how often each
image counts. The same draws serve all detectors of a study, so differences are paired and their covariance between
seeds can be taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smoothiou.errors import ConfigError
from smoothiou.metrics.coco import GroundTruth, Predictions, defined_mean, prepare
from smoothiou.metrics.matching import AREAS, IOU_50, IOU_75, THRESHOLDS, Matches, match
from smoothiou.metrics.overlap import Array

Counts = NDArray[np.int32]

_RECALLS = np.linspace(0, 1, 101)
_EVERY_IOU = slice(None)
_TAIL = 50 * (1 - 0.95)
"""Per cent of the draws below an interval, and above it."""
_CHUNK = 1_000_000
"""Most numbers of one intermediate array: draws are taken in parts, so that memory does not grow with them."""


class Spread(NamedTuple):
    """How far the choice of test images moves the difference of two losses."""

    variance: float
    """Of a seed's difference."""
    covariance: float
    """Of two seeds' differences; 0 where there is only one seed."""


def draw_images(images: int, *, resamples: int, seed: int = 0) -> Counts:
    """Return how often each image is drawn, (resamples, images); every row sums to `images`.

    Args:
        images: number of test images.
        resamples: how many times as many images are drawn, 1 or more.
        seed: 0 or more; equal seeds give equal draws.

    Raises:
        ConfigError: `resamples` or `seed` is out of range.
    """
    if resamples < 1 or seed < 0:
        raise ConfigError(f"bootstrap: expected resamples >= 1 and seed >= 0, got {resamples} and {seed}.")
    generator = np.random.default_rng(seed)
    counts = np.zeros((resamples, images), dtype=np.int32)
    for row in counts if images else ():
        row[:] = np.bincount(generator.integers(0, images, images), minlength=images)
    return counts


def drawn_metrics(
    gt: GroundTruth, predictions: Predictions, counts: Counts, *, by_size: bool = True
) -> dict[str, Array]:
    """Return COCO's metrics for every draw of the images, equal to the reference's on the repeated images.

    Args:
        gt: a COCO dictionary or the path of one.
        predictions: in COCO's results format.
        counts: (B, I) how often each image is drawn, images in the order of their ids.
        by_size: whether AP_small, AP_medium and AP_large are computed, which take three times as long as all others.

    Returns:
        AP, AP50, AP75, AR1, AR10, AR100, and those by size: (B,) each, NaN where the drawn images have no box that
        counts.

    Raises:
        DataError: as in `evaluate_detections`.
    """
    checked, detections = prepare(gt, predictions)
    everything = match(checked, detections)
    ap, ap50, ap75 = _average_precision(everything, counts, (_EVERY_IOU, IOU_50, IOU_75))
    values = {"AP": ap, "AP50": ap50, "AP75": ap75}
    _, *sizes = AREAS
    for area in sizes if by_size else ():
        (values[f"AP_{area}"],) = _average_precision(match(checked, detections, area=area), counts, (_EVERY_IOU,))
    for most in (1, 10, 100):
        values[f"AR{most}"] = _average_recall(everything, counts, most)
    return values


def drawn_means(sums: Array, numbers: Array, counts: Counts) -> Array:
    """Return the mean over boxes for every draw of the images, (B, ...); NaN where no box is drawn.

    Args:
        sums: (I, ...) sum over the boxes of each image.
        numbers: (I, ...) how many boxes it has.
        counts: (B, I) how often each image is drawn.
    """
    total, number = (np.tensordot(counts.astype(np.float64), values, axes=1) for values in (sums, numbers))
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def percentile_interval(values: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval over the draws that are defined; NaN without any.

    Args:
        values: of the draws; NaN where one is not defined.
    """
    defined = values[np.isfinite(values)]
    low, high = np.percentile(defined, [_TAIL, 100 - _TAIL]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)


def covariance_of_draws(differences: Array) -> Spread | None:
    """Return how far the choice of test images moves the difference of two losses.

    Args:
        differences: (S, B) candidate - baseline of each seed on the same draws of images.

    Returns:
        The mean over the seeds; None where fewer than 2 draws are defined for all of them.
    """
    defined = differences[:, np.isfinite(differences).all(axis=0)]
    seeds, draws = defined.shape
    if seeds == 0 or draws < 2:
        return None
    covariance = np.atleast_2d(np.cov(defined))
    variance = float(np.trace(covariance)) / seeds
    pairs = seeds * (seeds - 1)
    return Spread(variance, (float(covariance.sum()) - seeds * variance) / pairs if pairs else 0.0)


def _average_precision(classes: Sequence[Matches], counts: Counts, which: Sequence[int | slice]) -> list[Array]:
    """Return the mean precision of every draw at the thresholds of each part of `which`."""
    values: list[list[float]] = [[] for _ in which]
    size = max(
        max((len(matches.image) for matches in classes), default=0), len(THRESHOLDS) * len(_RECALLS) * len(classes), 1
    )
    step = max(_CHUNK // size, 1)
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step]
        # Axes in the reference's order, so that its means round alike.
        precision = np.full((len(drawn), len(THRESHOLDS), len(_RECALLS), len(classes)), -1.0)
        for k, matches in enumerate(classes):
            precision[..., k] = _precision(matches, drawn)
        for part, chosen in zip(values, which, strict=True):
            part.extend(defined_mean(draw[chosen]) for draw in precision)
    return [np.array(part) for part in values]


def _precision(matches: Matches, counts: Counts) -> Array:
    """Return interpolated precision (B, T, R) of one class; -1 where no box counts."""
    entry, copy = _entries(matches, int(counts.max(initial=0)))
    weights = counts[:, matches.image[entry]]
    if (copy >= 0).any():
        weights = np.where(copy < 0, weights, weights > copy).astype(np.int32)
    positives = counts @ matches.positives
    needed = _needed(positives)
    result = np.full((len(counts), len(THRESHOLDS), len(_RECALLS)), -1.0)
    result[positives > 0] = 0
    seen = np.cumsum(weights, axis=1, dtype=np.int32)
    for t in range(len(THRESHOLDS)):
        hits = np.flatnonzero(matches.true[t, entry])
        if not len(hits):
            continue
        ignored = np.flatnonzero(matches.ignored[t, entry])
        judged, tp = seen[:, hits], np.cumsum(weights[:, hits], axis=1, dtype=np.int32)
        if len(ignored):
            left_out = np.cumsum(np.pad(weights[:, ignored], ((0, 0), (1, 0))), axis=1, dtype=np.int32)
            judged = judged - left_out[:, np.searchsorted(ignored, hits)]
        precision = tp / (judged + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # Precision at the first hit that reaches each recall. Rows are shifted apart, to be searched as one.
        draw = np.arange(len(counts))[:, None]
        shift = draw * (int(positives.max()) + 2)
        position = np.searchsorted((tp + shift).ravel(), (needed + shift).ravel()).reshape(needed.shape)
        position -= draw * len(hits)
        reached = (position < len(hits)) & (positives > 0)[:, None]
        result[:, t][reached] = envelope[draw, np.minimum(position, len(hits) - 1)][reached]
    return result


def _entries(matches: Matches, most: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the detections in the order in which they are counted, and which copy of its image each belongs to.

    A detection counts as often as its image, at once (copy -1). Only where an image has several of one score, its
    copies stand one after the other, as those of different images would.
    """
    judged = np.flatnonzero(~matches.ignored.all(axis=0))
    score, image = matches.score[judged], matches.image[judged]
    block = np.cumsum((np.diff(score, prepend=np.inf) != 0) | (np.diff(image, prepend=-1) != 0))
    tied = np.bincount(block, minlength=1)[block] > 1
    entry = np.concatenate([np.flatnonzero(~tied), np.tile(np.flatnonzero(tied), most)])
    copy = np.concatenate([np.full((~tied).sum(), -1), np.repeat(np.arange(most), tied.sum())])
    order = np.lexsort((entry, copy, block[entry]))
    return judged[entry[order]], copy[order]


def _needed(positives: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the fewest hits whose recall reaches each of COCO's 101, (B, R), as the reference rounds recall."""
    number = np.maximum(positives, 1)[:, None]
    hits = np.ceil(_RECALLS * number).astype(np.intp)
    hits -= (hits > 0) & ((hits - 1) / number >= _RECALLS)
    return hits + (hits / number < _RECALLS)


def _average_recall(classes: Sequence[Matches], counts: Counts, most: int) -> Array:
    """Return the mean recall of every draw with at most `most` detections of an image and class."""
    recall = np.full((len(counts), len(THRESHOLDS), len(classes)), -1.0)
    for k, matches in enumerate(classes):
        images = counts.shape[1]
        hits = [np.bincount(matches.image[true & (matches.rank < most)], minlength=images) for true in matches.true]
        positives = counts @ matches.positives
        defined = positives > 0
        recall[defined, :, k] = (counts @ np.array(hits).T)[defined] / positives[defined, None]
    return np.array([defined_mean(draw) for draw in recall])
