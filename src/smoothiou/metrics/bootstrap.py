"""The doubt that comes from the test images: what would other images have said?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothiou.errors import ConfigError, DataError

Array = NDArray[np.float64]


def resample_images(sums: Array, *, resamples: int, seed: int) -> Array:
    """Return the sums over images drawn with replacement, all boxes of an image together.

    Args:
        sums: (I, ...) what each image adds.
        resamples: how many times I images are drawn, 1 or more.
        seed: decides the draws, 0 or more; equal seeds draw the same images.

    Returns:
        (resamples, ...).

    Raises:
        ConfigError: `resamples` or `seed` is out of range.
    """
    if resamples < 1 or seed < 0:
        raise ConfigError(f"bootstrap: expected resamples >= 1 and seed >= 0, got {resamples} and {seed}.")
    images = len(sums)
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, *sums.shape[1:]))
    for resample in range(resamples if images else 0):
        counts = np.bincount(generator.integers(0, images, images), minlength=images)
        drawn[resample] = np.tensordot(counts, sums, axes=1)
    return drawn


def paired_image_bootstrap(
    per_image_a: Sequence[Mapping[str, Any]],
    per_image_b: Sequence[Mapping[str, Any]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return how far two detectors differ in mean IoU, with the doubt that comes from the test images.

    Each resample draws images with replacement, the same for both; a mean is the ratio of summed IoU to
    summed boxes.

    Args:
        per_image_a: the baseline's entries of localization.json.
        per_image_b: the candidate's, of the same images in any order.
        resamples: how many times the images are drawn, 1 or more.
        seed: decides the draws, 0 or more.

    Returns:
        For mean_iou and refined_mean_iou: {"difference": b - a, "low", "high": the 95 % percentile interval,
        "resamples"}; NaN where a mean runs over nothing.

    Raises:
        DataError: the two are not of the same images, or an entry lacks a key.
        ConfigError: `resamples` or `seed` is out of range.
    """
    a, b = _sums(per_image_a, "per_image_a"), _sums(per_image_b, "per_image_b")
    if a.keys() != b.keys():
        raise DataError(f"bootstrap: image {min(a.keys() ^ b.keys())} is in one of the two runs only.")
    ids = sorted(a)
    sums = np.array([(a[image], b[image]) for image in ids], dtype=np.float64).reshape(len(ids), 2, 4)
    drawn = resample_images(sums, resamples=resamples, seed=seed)
    return {
        "mean_iou": _interval(sums.sum(axis=0)[..., :2], drawn[..., :2]),
        "refined_mean_iou": _interval(sums.sum(axis=0)[..., 2:], drawn[..., 2:]),
    }


def _sums(entries: Sequence[Mapping[str, Any]], where: str) -> dict[int, tuple[float, float, float, float]]:
    """Return by image: summed raw IoU, raw boxes, summed refined IoU, probes."""
    sums = {}
    for index, entry in enumerate(entries):
        try:
            raw_sum = (entry["raw_mean"] or 0.0) * entry["raw_count"]
            sums[entry["image_id"]] = (
                raw_sum,
                entry["raw_count"],
                sum(entry["refined"]),
                len(entry["refined"]),
            )
        except KeyError as missing:
            raise DataError(f"{where}[{index}]: {missing.args[0]} is missing.") from None
    return sums


def _interval(whole: Array, drawn: Array) -> dict[str, float]:
    """Return the difference of ratios (b - a) and its percentile interval over defined resamples.

    Args:
        whole: (2, 2) detector by (sum, count).
        drawn: (B, 2, 2) the same of each resample.
    """
    defined = (drawn[..., 1] > 0).all(axis=-1)
    if not (whole[:, 1] > 0).all() or not defined.any():
        return {"difference": np.nan, "low": np.nan, "high": np.nan, "resamples": len(drawn)}
    means = drawn[defined, :, 0] / drawn[defined, :, 1]
    low, high = np.percentile(means[:, 1] - means[:, 0], [2.5, 97.5])
    difference = whole[1, 0] / whole[1, 1] - whole[0, 0] / whole[0, 1]
    return {"difference": float(difference), "low": float(low), "high": float(high), "resamples": len(drawn)}
