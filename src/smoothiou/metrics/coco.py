"""COCO's detection metrics, equal to the reference's bit by bit; the only file that knows the engine.

Everything is checked before the engine sees it, so that a fault has a name instead of moving a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np

from smoothiou.errors import DataError
from smoothiou.files import read_flag, read_json, short
from smoothiou.metrics.coco_rows import as_annotations, as_rows
from smoothiou.metrics.matching import IOU_50, IOU_75, THRESHOLDS

GroundTruth = Mapping[str, Any] | str | Path
Predictions = Sequence[Mapping[str, Any]] | str | Path
Detections = list[dict[str, Any]] | np.ndarray

# Indices along the axes of the engine's arrays, see `accumulated`.
ALL_AREAS, _SMALL, _MEDIUM, _LARGE = range(4)
_MAXDET_1, _MAXDET_10, MAXDET_100 = range(3)
_TIDE = {
    "localization": "Loc",
    "classification": "Cls",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}


def engine() -> str:
    """Return the name and version of what computes the metrics, for signatures ("hotcoco-1.3.0")."""
    return f"hotcoco-{hotcoco.__version__}"


def evaluate_detections(truth: GroundTruth, predictions: Predictions) -> dict[str, float]:
    """Return COCO's detection metrics, equal to pycocotools to the last bit.

    Annotation ids are renumbered from 1: they carry no meaning, and the reference counts a box whose id is 0
    as never detected. As in the reference, `iscrowd` marks ignore regions and the key `ignore` has no effect.

    Args:
        truth: a COCO dictionary ("images", "annotations", "categories"; boxes as [x, y, width, height]), or
            the path of its JSON file. An annotation without "area" gets that of its box; one without
            "iscrowd" is no crowd.
        predictions: a list in COCO's results format ("image_id", "category_id", "bbox", "score"), or the path
            of its JSON file. May be empty. Neither argument is changed.

    Returns:
        AP, AP50, AP75, AP_small, AP_medium, AP_large, AR1, AR10 and AR100, each 0 to 1, or NaN where the ground truth
        has no such box (COCO writes -1 there).

    Raises:
        DataError: a file that is missing or no JSON, a missing key, an unknown image or category, a box or
            score that is no finite number; the message names the entry and the field.

    Reference:
        Lin et al., "Microsoft COCO: Common Objects in Context", 2014; https://cocodataset.org/#detection-eval
    """
    return _metrics(accumulated(*prepare(truth, predictions)))


def evaluate_in_full(
    truth: GroundTruth, predictions: Predictions
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return what `evaluate_detections`, `ap_by_iou` and `per_class_ap` return, for the price of one of them.

    Args:
        truth: a COCO dictionary, or the path of its JSON; as in `evaluate_detections`.
        predictions: COCO results; as in `evaluate_detections`.

    Raises:
        DataError: as in `evaluate_detections`.
    """
    gt, detections = prepare(truth, predictions)
    names = class_names(gt)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"truth: two categories are named {repeated[0]!r}.", hint="Give each class its own name.")
    arrays = accumulated(gt, detections)
    precision = arrays["precision"][..., ALL_AREAS, MAXDET_100]
    by_class = {name: defined_mean(precision[:, :, k]) for k, name in enumerate(names)}
    return _metrics(arrays), _by_iou(arrays), by_class


def ap_by_iou(truth: GroundTruth, predictions: Predictions) -> dict[str, float]:
    """Return AP at each of COCO's ten IoU thresholds: {"0.50": AP, ..., "0.95": AP}; their mean is AP.

    Args:
        truth: a COCO dictionary, or the path of its JSON; as in `evaluate_detections`.
        predictions: COCO results; as in `evaluate_detections`.

    Raises:
        DataError: as in `evaluate_detections`.
    """
    return _by_iou(accumulated(*prepare(truth, predictions)))


def per_class_ap(truth: GroundTruth, predictions: Predictions) -> dict[str, float]:
    """Return the AP of each class by its name, in the order of the category ids; NaN for a class without a box.

    Args:
        truth: a COCO dictionary, or the path of its JSON; as in `evaluate_detections`.
        predictions: COCO results; as in `evaluate_detections`.

    Raises:
        DataError: as in `evaluate_detections`, or two categories share a name.
    """
    return evaluate_in_full(truth, predictions)[2]


def error_gains(truth: GroundTruth, predictions: Predictions) -> dict[str, float]:
    """Return how much AP50 each kind of error costs (TIDE): how much higher it would be, were that kind repaired.

    Args:
        truth: a COCO dictionary, or the path of its JSON; as in `evaluate_detections`.
        predictions: COCO results; as in `evaluate_detections`.

    Returns:
        "localization" (right class, IoU 0.1 to 0.5), "classification" (IoU at least 0.5, wrong class), "both",
        "duplicate", "background" (IoU below 0.1) and "missed"; each 0 to 1. Gains do not add up: repairs overlap.

    Raises:
        DataError: as in `evaluate_detections`.

    Reference:
        Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020.
    """
    gains = evaluation(*prepare(truth, predictions)).tide_errors(pos_thr=0.5, bg_thr=0.1)["delta_ap"]
    return {name: float(gains[key]) for name, key in _TIDE.items()}


def evaluation(gt: dict[str, Any], detections: Detections) -> Any:
    """Return the engine's evaluation of what `prepare` has checked, images and classes matched."""
    try:
        coco = hotcoco.COCO(gt)
        result = hotcoco.COCOeval(coco, coco.load_res(detections), "bbox")
        result.evaluate()
    except (ValueError, OverflowError) as error:  # what our own checks did not foresee, in the engine's words
        raise DataError(f"truth or predictions refused by {engine()}: {error}") from error
    return result


def accumulated(gt: dict[str, Any], detections: Detections) -> dict[str, Any]:
    """Return the engine's arrays: precision (IoU, recall, class, area, maxdet), recall (IoU, class, area, maxdet)."""
    result = evaluation(gt, detections)
    result.accumulate()  # not summarize(), which prints
    return result.eval


def _metrics(arrays: Mapping[str, Any]) -> dict[str, float]:
    precision, recall = arrays["precision"], arrays["recall"]
    return {
        "AP": defined_mean(precision[..., ALL_AREAS, MAXDET_100]),
        "AP50": defined_mean(precision[IOU_50, ..., ALL_AREAS, MAXDET_100]),
        "AP75": defined_mean(precision[IOU_75, ..., ALL_AREAS, MAXDET_100]),
        "AP_small": defined_mean(precision[..., _SMALL, MAXDET_100]),
        "AP_medium": defined_mean(precision[..., _MEDIUM, MAXDET_100]),
        "AP_large": defined_mean(precision[..., _LARGE, MAXDET_100]),
        "AR1": defined_mean(recall[..., ALL_AREAS, _MAXDET_1]),
        "AR10": defined_mean(recall[..., ALL_AREAS, _MAXDET_10]),
        "AR100": defined_mean(recall[..., ALL_AREAS, MAXDET_100]),
    }


def _by_iou(arrays: Mapping[str, Any]) -> dict[str, float]:
    precision = arrays["precision"][..., ALL_AREAS, MAXDET_100]
    return {f"{threshold:.2f}": defined_mean(precision[t]) for t, threshold in enumerate(THRESHOLDS)}


def class_names(gt: Mapping[str, Any]) -> list[str]:
    """Return the class names of a checked ground truth, in the order of the category ids."""
    return [category["name"] for category in sorted(gt["categories"], key=lambda category: category["id"])]


def defined_mean(values: np.ndarray) -> float:
    """Return the reference's mean: over what is defined (> -1), NaN where nothing is."""
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else math.nan


def prepare(truth: GroundTruth, predictions: Predictions) -> tuple[dict[str, Any], Detections]:
    """Return checked copies of both that hold just what an evaluation needs."""
    gt = _prepare_gt(truth)
    return gt, _prepare_predictions(predictions, gt)


def _prepare_gt(truth: GroundTruth) -> dict[str, Any]:
    name = "truth"
    if isinstance(truth, (str, Path)):
        name, truth = str(truth), read_json(truth)
    if not isinstance(truth, Mapping):
        raise DataError(f"{name}: expected a COCO dictionary or a path, got {type(truth).__name__}.")
    parts = {key: _field(truth, key, name) for key in ("images", "annotations", "categories")}
    for key, part in parts.items():
        if not isinstance(part, (list, tuple)):
            raise DataError(f"{name}: {key}: expected a list, got {type(part).__name__}.")
    images = _ids(parts["images"], f"{name}: images")
    categories = _ids(parts["categories"], f"{name}: categories")
    annotations = as_annotations(parts["annotations"], images=images, categories=categories)
    if annotations is None:
        annotations = _annotations(parts["annotations"], images, categories, name)
    return {
        "images": [{"id": image} for image in images],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": str(entry.get("name", number))}
            for number, entry in zip(categories, parts["categories"], strict=True)
        ],
    }


def _prepare_predictions(predictions: Predictions, gt: dict[str, Any]) -> Detections:
    name = "predictions"
    if isinstance(predictions, (str, Path)):
        name, predictions = str(predictions), read_json(predictions)
    if isinstance(predictions, Mapping) or not isinstance(predictions, Sequence):
        raise DataError(
            f"{name}: expected a list of detections, got {type(predictions).__name__}.",
            hint='COCO\'s results format is [{"image_id", "category_id", "bbox", "score"}, ...].',
        )
    images = {image["id"] for image in gt["images"]}
    categories = {category["id"] for category in gt["categories"]}
    rows = as_rows(predictions, images=images, categories=categories)
    if rows is not None:
        return rows
    detections = []
    for index, entry in enumerate(predictions):
        where = f"{name}[{index}]"
        checked = _checked_box(entry, images, categories, where)
        detections.append({**checked, "score": _number(_field(entry, "score", where), f"{where}: score")})
    return detections


def _annotations(entries: Sequence[Any], images: Any, categories: Any, name: str) -> list[dict[str, Any]]:
    annotations = []
    for index, entry in enumerate(entries):
        where = f"{name}: annotations[{index}]"
        checked = _checked_box(entry, images, categories, where)
        width, height = checked["bbox"][2:]
        area = entry.get("area")
        area = width * height if area is None else _number(area, f"{where}: area")
        crowd = int(read_flag(entry.get("iscrowd", 0), name="iscrowd", where=where))
        annotations.append({**checked, "id": index + 1, "area": area, "iscrowd": crowd})
    return annotations


def _checked_box(entry: Any, images: Any, categories: Any, where: str) -> dict[str, Any]:
    """Return image, category and box of an annotation or a detection."""
    box = _box(_field(entry, "bbox", where), f"{where}: bbox")
    return {
        "image_id": _known(_field(entry, "image_id", where), images, f"{where}: image_id"),
        "category_id": _known(_field(entry, "category_id", where), categories, f"{where}: category_id"),
        "bbox": box,
    }


def _field(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, Mapping):
        raise DataError(f"{where}: expected a dictionary, got {type(entry).__name__}.")
    if key not in entry:
        raise DataError(f"{where}: {key} is missing.")
    return entry[key]


def _ids(entries: Sequence[Any], where: str) -> dict[int, None]:
    """Return the ids in their order (a dictionary, for fast membership), all different."""
    ids: dict[int, None] = {}
    for index, entry in enumerate(entries):
        number = _whole(_field(entry, "id", f"{where}[{index}]"), f"{where}[{index}]: id")
        if number in ids:
            raise DataError(f"{where}[{index}]: id {number} is there twice.")
        ids[number] = None
    return ids


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise DataError(f"{where}: expected a whole number of 0 or more, got {short(value)}.")
    return int(value)


def _known(value: Any, known: Any, where: str) -> int:
    number = _whole(value, where)
    if number not in known:
        raise DataError(f"{where}: {number} is not in the truth.", hint="Are these the predictions of another split?")
    return number


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # a whole number of 400 digits
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a finite number, got {short(value)}.")
    return number


def _box(value: Any, where: str) -> list[float]:
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != 4:
        raise DataError(f"{where}: expected [x, y, width, height], got {short(value)}.")
    box = [_number(number, where) for number in value]
    if box[2] < 0 or box[3] < 0:
        raise DataError(f"{where}: expected a width and height of 0 or more, got {box!r}.")
    return box
