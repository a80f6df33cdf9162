"""How tightly boxes fit, which AP hardly sees: Table 2's mean IoU, its variants, and a refinement probe.

The paper: "The reported numbers here are all proposed boxes by the model, we are not discounting any boxes
through post-processing". Our reading, since no code was published: every second-stage box of an image
(decoded with its best foreground class, clipped, no score threshold, no NMS) is compared with the
best-overlapping truth of any class, and the mean runs over all boxes of the set, not over images.

- An image without truth counts: its boxes overlap nothing, IoU 0.
- Crowd regions are no objects and are left out everywhere. Difficult objects are objects: a box on one is a
  good box, so they take part in "best overlap"; as in the metrics of COCO and PASCAL they are nothing that
  has to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothiou.errors import ConfigError, DataError

Array = NDArray[np.float64]

EDGES = tuple(round(0.05 * step, 2) for step in range(21))
MATCH_IOU = 0.5
PROBE_IOU = (0.5, 0.9)


def box_iou(a: ArrayLike, b: ArrayLike) -> Array:
    """Return the IoU of every box of `a` with every box of `b`; 0 where both have no area.

    Args:
        a: (N, 4) boxes x1, y1, x2, y2.
        b: (M, 4) boxes.

    Returns:
        (N, M), 0 to 1.
    """
    first, second = _boxes(a, "a")[:, None], _boxes(b, "b")[None, :]
    return _iou(first, second)


def _iou(first: Array, second: Array) -> Array:
    corner = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    intersection = np.prod(np.maximum(corner, 0), axis=-1)
    union = _area(first) + _area(second) - intersection
    return np.minimum(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0), 1)


def _area(boxes: Array) -> Array:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def _boxes(values: ArrayLike, where: str) -> Array:
    boxes = np.asarray(values, dtype=np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{where}: expected boxes of shape (N, 4), got {boxes.shape}.")
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise DataError(f"{where}: box {row} is not finite: {boxes[row].tolist()}.")
    return boxes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageLocalization:
    """All overlaps of one image, from which every number of the set follows.

    Args:
        image_id: the image's id in the truth.
        raw: (R,) IoU of each second-stage box with the best-overlapping truth of any class.
        best: (T,) for each truth that has to be found, the best IoU of a detection of its class; 0 where
            there is none.
        matched: (M,) IoU of each detection that found a truth: highest score first, each truth once, IoU at
            least 0.5.
        refined: (P,) IoU of each refined probe with the truth it was made from.
    """

    image_id: int
    raw: Array
    best: Array
    matched: Array
    refined: Array

    def record(self) -> dict[str, Any]:
        """Return the image's entry of localization.json, which the paired bootstrap needs."""
        return {
            "image_id": self.image_id,
            "raw_mean": float(self.raw.mean()) if len(self.raw) else None,
            "raw_count": len(self.raw),
            "truths": len(self.best),
            "best": self.best.tolist(),
            "refined": self.refined.tolist(),
        }


def localize_image(
    image_id: int,
    *,
    truth_boxes: ArrayLike,
    truth_labels: ArrayLike,
    raw_boxes: ArrayLike,
    detection_boxes: ArrayLike,
    detection_scores: ArrayLike,
    detection_labels: ArrayLike,
    probe_truths: ArrayLike = (),
    refined_boxes: ArrayLike = (),
    difficult: ArrayLike | None = None,
    crowd: ArrayLike | None = None,
) -> ImageLocalization:
    """Return the overlaps of one image, all boxes as x1, y1, x2, y2 in the same frame.

    Args:
        image_id: the image's id in the truth.
        truth_boxes: (T, 4) all annotated boxes.
        truth_labels: (T,) their classes, in any numbering shared with `detection_labels`.
        raw_boxes: (R, 4) every second-stage box, without score threshold and NMS.
        detection_boxes: (D, 4) the detector's output.
        detection_scores: (D,) its scores.
        detection_labels: (D,) its classes.
        probe_truths: (P, 4) for each probe the truth it was jittered from.
        refined_boxes: (P, 4) the probes after the second stage.
        difficult: (T,) flags: takes part in "best overlap", need not be found. None: none is.
        crowd: (T,) flags: left out everywhere. None: none is.

    Returns:
        The image's overlaps.

    Raises:
        DataError: boxes of another shape or not finite, or arrays that do not belong together; names the
            image.
    """
    here = f"image {image_id}"
    truths, raw = _boxes(truth_boxes, f"{here}: truth_boxes"), _boxes(raw_boxes, f"{here}: raw_boxes")
    labels = _column(truth_labels, len(truths), f"{here}: truth_labels")
    is_difficult = _column(difficult, len(truths), f"{here}: difficult").astype(bool)
    is_crowd = _column(crowd, len(truths), f"{here}: crowd").astype(bool)
    detections = _boxes(detection_boxes, f"{here}: detection_boxes")
    scores = _column(detection_scores, len(detections), f"{here}: detection_scores")
    found_labels = _column(detection_labels, len(detections), f"{here}: detection_labels")
    origins, refined = (
        _boxes(probe_truths, f"{here}: probe_truths"),
        _boxes(refined_boxes, f"{here}: refined_boxes"),
    )
    if len(origins) != len(refined):
        raise DataError(f"{here}: expected one refined box per probe, got {len(refined)} for {len(origins)}.")

    wanted = ~is_crowd & ~is_difficult
    overlap = box_iou(detections, truths[wanted])
    overlap = np.where(found_labels[:, None] == labels[wanted][None, :], overlap, 0)
    return ImageLocalization(
        image_id=image_id,
        raw=box_iou(raw, truths[~is_crowd]).max(axis=1, initial=0),
        best=overlap.max(axis=0, initial=0),
        matched=_match(overlap, scores),
        refined=_iou(refined, origins),
    )


def _column(values: ArrayLike | None, length: int, where: str) -> NDArray[Any]:
    column = np.zeros(length) if values is None else np.asarray(values).reshape(-1)
    if len(column) != length:
        raise DataError(f"{where}: expected {length} values, one per box, got {len(column)}.")
    return column


def _match(overlap: Array, scores: NDArray[Any]) -> Array:
    """Return the IoU of each match, COCO's way: by falling score, each takes the best free truth."""
    free = overlap.copy()
    matched = []
    for detection in np.argsort(-scores, kind="stable"):
        truth = int(free[detection].argmax()) if free.shape[1] else 0
        if free.shape[1] and free[detection, truth] >= MATCH_IOU:
            matched.append(free[detection, truth])
            free[:, truth] = 0
    return np.array(matched, dtype=np.float64)


def summarize(images: Sequence[ImageLocalization]) -> dict[str, Any]:
    """Return the block "localization" of result.json: means over all boxes of the set, and three histograms.

    Args:
        images: the overlaps of every image of the set.

    Returns:
        mean_iou            all raw boxes (the paper's Table 2)
        mean_iou_positive   raw boxes whose best IoU is at least 0.5
        mean_iou_matched    detections that found a truth
        refined_mean_iou    refined probes; refined_above_75, _85, _90: their share with a larger IoU
        raw_boxes           how many raw boxes there were
        histogram           counts per 0.05 of IoU: "edges" (21), "matched", "raw", "refined" (20 each)
        A mean over nothing is NaN (null in JSON).
    """
    raw, matched, refined = (
        np.concatenate([np.empty(0), *(getattr(image, name) for image in images)])
        for name in ("raw", "matched", "refined")
    )
    return {
        "mean_iou": _mean(raw),
        "mean_iou_positive": _mean(raw[raw >= MATCH_IOU]),
        "mean_iou_matched": _mean(matched),
        "refined_mean_iou": _mean(refined),
        "refined_above_75": _mean(refined > 0.75),
        "refined_above_85": _mean(refined > 0.85),
        "refined_above_90": _mean(refined > 0.9),
        "raw_boxes": len(raw),
        "histogram": {
            "edges": list(EDGES),
            **{
                name: np.histogram(values, bins=EDGES)[0].tolist()
                for name, values in (("matched", matched), ("raw", raw), ("refined", refined))
            },
        },
    }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def jittered_probes(
    truth_boxes: ArrayLike,
    *,
    image_id: int,
    image_size: tuple[int, int],
    seed: int = 0,
    per_box: int = 4,
    candidates: int = 32,
) -> Array:
    """Return slightly wrong boxes around each truth: what the second stage is asked to repair.

    Each probe is the first of `candidates` draws (centre moved by up to a quarter of the side, sides scaled
    by up to exp(0.3), clipped to the image) whose IoU with its truth is 0.5 to 0.9; where none is, the one
    nearest to 0.7. The draws depend on `seed` and `image_id` alone, so every loss and every training seed
    gets the same probes.

    Args:
        truth_boxes: (T, 4) the boxes that are no ignore regions, x1, y1, x2, y2 in pixels.
        image_id: the image's id, 0 or more.
        image_size: width and height in pixels.
        seed: of the probe, not of the training, 0 or more.
        per_box: probes per truth.
        candidates: draws per probe.

    Returns:
        (T * per_box, 4); probe i belongs to truth i // per_box (`numpy.repeat(truth_boxes, per_box,
        axis=0)`).

    Raises:
        DataError: boxes of another shape or not finite.
    """
    truths = _boxes(truth_boxes, f"image {image_id}: truth_boxes")
    generator = np.random.default_rng([seed, image_id])
    # One uniform draw in [-1, 1) per probe, candidate and (shift x, shift y, scale x, scale y).
    draws = 2 * generator.random((len(truths), per_box, candidates, 4)) - 1
    side = (truths[:, 2:] - truths[:, :2])[:, None, None]
    center = (truths[:, 2:] + truths[:, :2])[:, None, None] / 2 + 0.25 * side * draws[..., :2]
    half = side * np.exp(0.3 * draws[..., 2:]) / 2
    limit = np.array([*image_size, *image_size], dtype=np.float64)
    boxes = np.clip(np.concatenate([center - half, center + half], axis=-1), 0, limit)
    overlap = _iou(boxes, truths[:, None, None])
    low, high = PROBE_IOU
    # 0 inside the wanted range, so that the first such draw wins; outside, the distance from its middle.
    distance = np.where((overlap >= low) & (overlap <= high), 0, np.abs(overlap - (low + high) / 2))
    chosen = distance.argmin(axis=-1)[..., None, None]
    return np.take_along_axis(boxes, chosen, axis=2).reshape(-1, 4)


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
    if resamples < 1 or seed < 0:
        raise ConfigError(f"bootstrap: expected resamples >= 1 and seed >= 0, got {resamples} and {seed}.")
    a, b = _sums(per_image_a, "per_image_a"), _sums(per_image_b, "per_image_b")
    if a.keys() != b.keys():
        raise DataError(f"bootstrap: image {min(a.keys() ^ b.keys())} is in one of the two runs only.")
    ids = sorted(a)
    sums = np.array([[a[image] for image in ids], [b[image] for image in ids]]).reshape(2, len(ids), 4)
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, 2, 4))
    for resample in range(resamples):
        counts = np.bincount(generator.integers(0, len(ids), len(ids)), minlength=len(ids)) if ids else np.empty(0)
        drawn[resample] = counts @ sums
    return {
        "mean_iou": _interval(sums.sum(axis=1)[..., :2], drawn[..., :2]),
        "refined_mean_iou": _interval(sums.sum(axis=1)[..., 2:], drawn[..., 2:]),
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
