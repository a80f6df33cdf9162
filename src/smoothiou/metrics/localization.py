"""How tightly boxes fit, which AP hardly sees: Table 2's mean IoU, its variants, and what the refinement probe says.

The paper: "The reported numbers here are all proposed boxes by the model, we are not discounting any boxes
through post-processing". Our reading, since no code was published: every second-stage box of an image
(decoded with its best foreground class, clipped, no score threshold, no NMS) is compared with the
best-overlapping ground truth of any class, and the mean runs over all boxes of the set, not over images.

- An image without ground truth counts: its boxes overlap nothing, IoU 0.
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

from smoothiou.errors import DataError
from smoothiou.metrics.overlap import Array, aligned_iou, as_boxes, box_iou
from smoothiou.metrics.refinement import DEFINITION
from smoothiou.metrics.signature import PARTS

EDGES = tuple(round(0.05 * step, 2) for step in range(21))
MATCH_IOU = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageLocalization:
    """All overlaps of one image, from which every number of the set follows.

    Args:
        image_id: the image's id.
        raw: (R,) IoU of each second-stage box with the best-overlapping ground truth of any class.
        proposed: (R,) the same of the proposals that these boxes were refined from.
        best: (T,) for each ground truth that counts, the best IoU of a detection of its class, else 0.
        matched: (M,) IoU of each detection that matches a ground truth: highest score first, each ground truth once,
            IoU at least 0.5.
        before: (P,) IoU of each probe with the ground truth it was made from, before the second stage; five decimals.
        refined: (P,) the same after it.
    """

    image_id: int
    raw: Array
    proposed: Array
    best: Array
    matched: Array
    before: Array
    refined: Array

    def record(self) -> dict[str, Any]:
        """Return the image's entry of localization.json, which paired comparisons need."""
        return {
            "image_id": self.image_id,
            "raw_mean": float(self.raw.mean()) if len(self.raw) else None,
            "raw_count": len(self.raw),
            **{f"{part}_sum": float(values.sum()) for part, values in _parts(self.raw, self.proposed).items()},
            "positive_sum": float(self.raw[self.raw >= MATCH_IOU].sum()),
            "positive_count": int((self.raw >= MATCH_IOU).sum()),
            "matched_sum": float(self.matched.sum()),
            "matched_count": len(self.matched),
            "truths": len(self.best),
            "best": self.best.tolist(),
            "before": self.before.tolist(),
            "refined": self.refined.tolist(),
        }


def localize_image(
    image_id: int,
    *,
    gt_boxes: ArrayLike,
    gt_labels: ArrayLike,
    raw_boxes: ArrayLike,
    proposals: ArrayLike,
    detection_boxes: ArrayLike,
    detection_scores: ArrayLike,
    detection_labels: ArrayLike,
    probe_gts: ArrayLike = (),
    probe_boxes: ArrayLike = (),
    refined_boxes: ArrayLike = (),
    difficult: ArrayLike | None = None,
    crowd: ArrayLike | None = None,
) -> ImageLocalization:
    """Return the overlaps of one image, all boxes as x1, y1, x2, y2 in the same frame.

    Args:
        image_id: the image's id.
        gt_boxes: (T, 4) all annotated boxes.
        gt_labels: (T,) their classes, in any numbering shared with `detection_labels`.
        raw_boxes: (R, 4) every second-stage box, without score threshold and NMS.
        proposals: (R, 4) the boxes that they were refined from.
        detection_boxes: (D, 4) the detector's output.
        detection_scores: (D,) its scores.
        detection_labels: (D,) its classes.
        probe_gts: (P, 4) for each probe the ground truth it was jittered from.
        probe_boxes: (P, 4) the probes before the second stage.
        refined_boxes: (P, 4) the same after it.
        difficult: (T,) flags: takes part in "best overlap", need not be found. None: none is.
        crowd: (T,) flags: left out everywhere. None: none is.

    Returns:
        The image's overlaps.

    Raises:
        DataError: boxes of another shape or not finite, or arrays that do not belong together; names the
            image.
    """
    where = f"image {image_id}"
    arrays = {
        "gt_boxes": gt_boxes, "raw_boxes": raw_boxes, "proposals": proposals, "detection_boxes": detection_boxes,
        "probe_gts": probe_gts, "probe_boxes": probe_boxes, "refined_boxes": refined_boxes,
    }  # fmt: skip
    gts, raw, proposed, detections, probed, probes, refined = (
        as_boxes(values, f"{where}: {name}") for name, values in arrays.items()
    )
    if len(proposed) != len(raw):
        raise DataError(f"{where}: expected as many proposals as raw_boxes, got {len(proposed)} for {len(raw)}.")
    if not len(probed) == len(probes) == len(refined):
        raise DataError(
            f"{where}: expected as many probe_boxes and refined_boxes as probe_gts, got {len(probes)} and "
            f"{len(refined)} for {len(probed)}."
        )
    labels = _column(gt_labels, len(gts), f"{where}: gt_labels")
    is_difficult = _column(difficult, len(gts), f"{where}: difficult").astype(bool)
    is_crowd = _column(crowd, len(gts), f"{where}: crowd").astype(bool)
    scores = _column(detection_scores, len(detections), f"{where}: detection_scores")
    detected_labels = _column(detection_labels, len(detections), f"{where}: detection_labels")

    counted = ~is_crowd & ~is_difficult
    same_class = detected_labels[:, None] == labels[counted][None, :]
    overlap = np.where(same_class, box_iou(detections, gts[counted]), 0)
    return ImageLocalization(
        image_id=image_id,
        raw=box_iou(raw, gts[~is_crowd]).max(axis=1, initial=0),
        proposed=box_iou(proposed, gts[~is_crowd]).max(axis=1, initial=0),
        best=overlap.max(axis=0, initial=0),
        matched=_match(overlap, scores),
        # Rounded here, so that every number about a probe is of the same IoU, read from a file or not.
        before=aligned_iou(probes, probed).round(5),
        refined=aligned_iou(refined, probed).round(5),
    )


def _column(values: ArrayLike | None, length: int, where: str) -> NDArray[Any]:
    column = np.zeros(length) if values is None else np.asarray(values).reshape(-1)
    if len(column) != length:
        raise DataError(f"{where}: expected {length} values, one per box, got {len(column)}.")
    return column


def _match(overlap: Array, scores: NDArray[Any]) -> Array:
    """Return the IoU of each match, COCO's way: by falling score, each takes the best free ground truth."""
    free = overlap.copy()
    matched = []
    for detection in np.argsort(-scores, kind="stable") if free.shape[1] else ():
        gt = int(free[detection].argmax())
        if free[detection, gt] >= MATCH_IOU:
            matched.append(free[detection, gt])
            free[:, gt] = 0
    return np.array(matched, dtype=np.float64)


def _parts(raw: Array, proposed: Array) -> dict[str, Array]:
    """Return for each box what each of `PARTS` adds to its IoU."""
    gain, trained_on = raw - proposed, proposed >= MATCH_IOU
    return dict(zip(PARTS, (proposed, np.where(trained_on, 0, gain), np.where(trained_on, gain, 0)), strict=True))


def image_sums(entries: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Array, Array]]:
    """Return for each mean over boxes its sum and number of boxes by image, in the order of the image ids.

    Args:
        entries: of localization.json. Those of an earlier version lack some sums; then these metrics are left out.

    Returns:
        metric -> ((I,), (I,)).

    Raises:
        DataError: an entry lacks a key that every version has written.
    """
    rows = []
    for index, entry in enumerate(entries):
        missing = [key for key in ("image_id", "raw_mean", "raw_count", "refined") if key not in entry]
        if missing:
            raise DataError(f"localization[{index}]: {missing[0]} is missing.")
        refined = np.asarray(entry["refined"], dtype=np.float64)
        row = {"mean_iou": ((entry["raw_mean"] or 0.0) * entry["raw_count"], entry["raw_count"])}
        row |= {part: (entry[f"{part}_sum"], entry["raw_count"]) for part in PARTS if f"{part}_sum" in entry}
        for metric in ("positive", "matched"):
            if f"{metric}_sum" in entry:
                row[f"mean_iou_{metric}"] = (entry[f"{metric}_sum"], entry[f"{metric}_count"])
        row["refined_mean_iou"] = (refined.sum(), len(refined))
        for step in (75, 85, 90):
            row[f"refined_above_{step}"] = ((refined > step / 100).sum(), len(refined))
        rows.append((entry["image_id"], row))
    rows = [row for _, row in sorted(rows, key=lambda row: row[0])]
    metrics = [metric for metric in (rows[0] if rows else ()) if all(metric in row for row in rows)]
    sums = {metric: np.array([row[metric] for row in rows], dtype=np.float64) for metric in metrics}
    return {metric: (values[:, 0], values[:, 1]) for metric, values in sums.items()}


def summarize(images: Sequence[ImageLocalization]) -> dict[str, Any]:
    """Return the block "localization" of result.json: means over all boxes of the set, and three histograms.

    Args:
        images: the overlaps of every image of the set.

    Returns:
        mean_iou            all raw boxes (the paper's Table 2)
        mean_iou_proposals, mean_iou_gain_below_50, mean_iou_gain_from_50
                            its parts, which add up to it: the mean IoU of the proposals, and what the second stage adds
                            on those below 0.5 and on the others, each divided by the number of all boxes
        mean_iou_positive   raw boxes whose best IoU is at least 0.5
        mean_iou_matched    detections that match a ground truth
        refined_mean_iou    refined probes; refined_above_75, _85, _90: their share with a larger IoU
        raw_boxes           how many raw boxes there were
        probe               what the probes are (`metrics.refinement.DEFINITION`); two runs compare where it is equal
        histogram           counts per 0.05 of IoU: "edges" (21), "matched", "raw", "refined" (20 each)
        A mean over nothing is NaN (null in JSON).
    """
    raw, proposed, matched, refined = (
        np.concatenate([np.empty(0), *(getattr(image, name) for image in images)])
        for name in ("raw", "proposed", "matched", "refined")
    )
    histograms = {"matched": matched, "raw": raw, "refined": refined}
    return {
        "mean_iou": _mean(raw),
        **{part: _mean(values) for part, values in _parts(raw, proposed).items()},
        "mean_iou_positive": _mean(raw[raw >= MATCH_IOU]),
        "mean_iou_matched": _mean(matched),
        "refined_mean_iou": _mean(refined),
        "refined_above_75": _mean(refined > 0.75),
        "refined_above_85": _mean(refined > 0.85),
        "refined_above_90": _mean(refined > 0.9),
        "raw_boxes": len(raw),
        "probe": DEFINITION,
        "histogram": {
            "edges": list(EDGES),
            **{name: np.histogram(values, bins=EDGES)[0].tolist() for name, values in histograms.items()},
        },
    }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
