"""Detections checked in bulk: the same numbers, and a fault is still named by its place."""

from __future__ import annotations

import numpy as np
import pytest

from smoothiou.errors import DataError
from smoothiou.metrics import ap_by_iou, evaluate_detections, evaluate_in_full, per_class_ap
from smoothiou.metrics import coco as engine
from smoothiou.metrics.coco_rows import as_annotations, as_rows


def scene(images=12, each=30):
    """Return truth and detections of images with seven boxes."""
    draw = np.random.default_rng(0)
    annotations, detections = [], []
    for image in range(1, images + 1):
        truths = np.concatenate([draw.uniform(0, 300, (7, 2)), draw.uniform(5, 140, (7, 2))], 1)
        labels = draw.integers(1, 4, 7)
        annotations += [
            {"id": len(annotations) + k + 1, "image_id": image, "category_id": int(label), "bbox": box.tolist()}
            for k, (box, label) in enumerate(zip(truths, labels, strict=True))
        ]
        for k in draw.integers(0, 7, each):
            box = np.maximum(truths[k] + draw.normal(0, 8, 4), 0)
            row = {"image_id": image, "category_id": int(labels[k]), "bbox": box.tolist(), "score": draw.random()}
            detections.append(row)
    categories = [{"id": k, "name": f"c{k}"} for k in (1, 2, 3)]
    return {
        "images": [{"id": i} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": categories,
    }, detections


def rows(detections, **more):
    return as_rows(detections, **{"images": range(1, 13), "categories": range(1, 4)} | more)


def test_both_ways_give_the_same_numbers(monkeypatch):
    truth, detections = scene()
    fast = evaluate_in_full(truth, detections)
    for name in ("as_rows", "as_annotations"):
        monkeypatch.setattr(engine, name, lambda *_, **__: None)
    assert fast == evaluate_in_full(truth, detections)
    assert 0.05 < fast[0]["AP"] < 0.95


def test_in_full_is_the_three_functions_together():
    truth, detections = scene()
    alone = (evaluate_detections(truth, detections), ap_by_iou(truth, detections), per_class_ap(truth, detections))
    assert evaluate_in_full(truth, detections) == alone


def test_rows_are_the_entries_in_their_order():
    _, detections = scene()
    found = rows(detections)
    assert found.shape == (len(detections), 7)
    assert found[5].tolist() == [
        detections[5]["image_id"], *detections[5]["bbox"], detections[5]["score"], detections[5]["category_id"],
    ]  # fmt: skip


FAULTS = {
    "image_id": [99, True, 1.0, "1", None, -1, 2**60],
    "category_id": [9, False, 2.0],
    "score": [float("nan"), float("inf"), "0.5", True, None],
    "bbox": [[1, 2, 3], [1, 2, 3, -4], [1, 2, 3, "4"], [1, 2, 3, float("nan")], "1234", None, [1, 2, 3, True],
             [10**400, 1, 1, 1]],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FAULTS.items() for value in values])
def test_what_is_not_plain_is_left_to_the_slow_look(field, value):
    truth, detections = scene()
    detections[7][field] = value
    assert rows(detections) is None
    with pytest.raises((DataError, OverflowError), match=r"predictions\[7\]"):
        evaluate_detections(truth, detections)


@pytest.mark.parametrize("change", [{"bbox": np.array([1.0, 2, 30, 40])}, {"score": np.float32(0.5)}])
def test_other_types_of_numbers_are_as_good(change):
    truth, detections = scene()
    plain = [dict(entry) for entry in detections]
    key, value = next(iter(change.items()))
    detections[7][key] = value
    plain[7][key] = value.tolist()
    assert rows(detections) is None
    assert evaluate_detections(truth, detections) == evaluate_detections(truth, plain)


def test_truth_boxes_are_the_same_both_ways():
    truth, _ = scene()
    truth["annotations"][3] |= {"area": 7, "iscrowd": 1}
    truth["annotations"][4] |= {"area": None, "bbox": (1, 2, 3, 4)}
    known = {"images": range(1, 13), "categories": range(1, 4)}
    fast = as_annotations(truth["annotations"], **known)
    ids = [dict.fromkeys(known[key]) for key in ("images", "categories")]
    assert fast == engine._annotations(truth["annotations"], *ids, "truth")
    assert fast[3]["iscrowd"] == 1


@pytest.mark.parametrize("area", [float("nan"), "7", True, 10**400])
def test_an_area_that_is_no_number_is_named(area):
    truth, detections = scene()
    truth["annotations"][3]["area"] = area
    with pytest.raises((DataError, OverflowError), match=r"annotations\[3\]: area"):
        evaluate_detections(truth, detections)
