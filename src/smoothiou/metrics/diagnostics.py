"""What a detector does wrong, class by class and image by image. No torch.

Detections count from the best score of their class on (`best_scores`), but for curves and calibration, which have all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothiou.metrics.best_scores import best_scores, score_curve
from smoothiou.metrics.coco import (
    ALL_AREAS,
    MAXDET_100,
    GroundTruth,
    Predictions,
    accumulated,
    class_names,
    evaluation,
    prepare,
)
from smoothiou.metrics.matching import BOX, CATEGORY, IOU_50, SCORE, Matches, detection_rows, match

POINTS = 200
"""Of a curve."""
SURE = 0.5
"""Least score of a detection that casts doubt on a label."""


def diagnose(
    truth: GroundTruth, predictions: Predictions, *, scores: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return confusions, curves, calibration, the cost of errors, worst images and doubtful labels.

    Args:
        truth, predictions: as in `evaluate_detections`; images are numbered from 1.
        scores: what `best_scores` has returned; None: cross-fitted here.

    Returns:
        "classes": names;
        "best_scores";
        "confusion": (K + 1, K + 1) counts at an IoU of 0.5, rows the gt, columns the detection, last the background;
        "curves": by class, "recall" and "precision" (highest score first), "score" and "f1";
        "calibration": "ece" (expected error of the scores as shares of right boxes), "bins";
        "errors": AP50 that each kind costs (TIDE), and "counts" of each;
        "images": {"image", "f1", "right", "wrong", "missed"}, worst first;
        "labels": candidates for wrong and missing labels, surest first: {"image", "kind", "bbox", "detected", "score",
        "label", "label_bbox"}.
    """
    gt, detections = prepare(truth, predictions)
    names = class_names(gt)
    scores = scores or best_scores(truth, predictions)
    rows = detection_rows(detections)
    kept_rows = _kept(rows, gt, scores)
    every, kept = evaluation(gt, rows), evaluation(gt, kept_rows)
    calibration = every.calibration(n_bins=10, iou_threshold=0.5)
    tide = every.tide_errors(pos_thr=0.5, bg_thr=0.1)
    by_image = kept.image_diagnostics(iou_thr=0.5, score_thr=SURE)
    return {
        "classes": names,
        "best_scores": scores,
        "confusion": kept.confusion_matrix(iou_thr=0.5)["matrix"].astype(int).tolist(),
        "curves": {name: _curve(matches) for name, matches in zip(names, match(gt, rows), strict=True)},
        "calibration": {
            "ece": calibration["ece"],
            "bins": [
                {"score": bin["avg_confidence"], "right": bin["avg_accuracy"], "count": bin["count"]}
                for bin in calibration["bins"]
                if bin["count"]
            ],
        },
        "errors": {"gains": tide["delta_ap"], "counts": tide["counts"]},
        "images": _worst(by_image["img_summary"]),
        "labels": _doubtful(by_image["label_errors"], gt, kept_rows),
    }


def mean_curve(truth: GroundTruth, predictions: Predictions) -> dict[str, list[float]]:
    """Return precision at 101 recalls (IoU 0.5), the mean over classes, as COCO interpolates it."""
    precision = accumulated(*prepare(truth, predictions))["precision"][IOU_50, :, :, ALL_AREAS, MAXDET_100]
    defined = precision[:, (precision > -1).all(axis=0)]
    means = defined.mean(axis=1) if defined.shape[1] else np.zeros(len(precision))
    return {"recall": np.linspace(0, 1, len(means)).round(2).tolist(), "precision": means.round(4).tolist()}


def confusion(truth: GroundTruth, predictions: Predictions, scores: Mapping[str, Any]) -> list[list[int]]:
    """Return the counts of `diagnose`'s "confusion" alone."""
    gt, detections = prepare(truth, predictions)
    kept = _kept(detection_rows(detections), gt, scores)
    return evaluation(gt, kept).confusion_matrix(iou_thr=0.5)["matrix"].astype(int).tolist()


def _kept(rows: NDArray[np.float64], gt: Mapping[str, Any], scores: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the detections with at least the best score of their class, 0.5 where a class has none."""
    best = [scores["per_class"].get(name, {}).get("score") for name in class_names(gt)]
    thresholds = np.array([0.5 if score is None else score for score in best])
    ids = sorted(category["id"] for category in gt["categories"])
    return rows[rows[:, SCORE] >= thresholds[np.searchsorted(ids, rows[:, CATEGORY])]]


def _curve(matches: Matches) -> dict[str, list[float]]:
    curve = score_curve(matches)
    if not curve.positives or not len(curve.scores):
        return {"recall": [], "precision": [], "score": [], "f1": []}
    at = np.unique(np.linspace(0, len(curve.scores) - 1, POINTS).astype(int))
    columns = {"recall": curve.recall, "precision": curve.precision, "score": curve.scores, "f1": curve.f1}
    return {name: values[at].round(4).tolist() for name, values in columns.items()}


def _worst(summary: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    images = [
        {"image": image, "f1": entry["f1"], "right": entry["tp"], "wrong": entry["fp"], "missed": entry["fn"]}
        for image, entry in summary.items()
    ]
    return sorted(images, key=lambda entry: (-(entry["wrong"] + entry["missed"]), entry["f1"], entry["image"]))


def _doubtful(
    errors: Sequence[Mapping[str, Any]], gt: Mapping[str, Any], rows: NDArray[np.float64]
) -> list[dict[str, Any]]:
    labels = {annotation["id"]: annotation for annotation in gt["annotations"]}
    doubtful = [
        {
            "image": error["image_id"],
            "kind": "missing" if error["gt_id"] is None else "wrong",
            "bbox": rows[error["dt_id"] - 1, BOX].tolist(),
            "detected": error["dt_category"],
            "score": error["dt_score"],
            "label": error["gt_category"],
            "label_bbox": None if error["gt_id"] is None else labels[error["gt_id"]]["bbox"],
        }
        for error in errors
    ]
    return sorted(doubtful, key=lambda entry: (-entry["score"], entry["image"]))
