"""Diagnostics of a handful of boxes, whose right answers can be counted."""

from __future__ import annotations

import pytest

from smoothiou.metrics.diagnostics import confusion, diagnose, mean_curve

A, B, FAR = [0, 0, 10, 10], [40, 0, 10, 10], [200, 200, 10, 10]
SCORES = {"chosen_on": "val", "iou": 0.5, "per_class": {"cat": {"score": 0.5}, "dog": {"score": 0.2}}}
TRUTH = {
    "images": [{"id": 1}, {"id": 2}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": A},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": B},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": A},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}


def row(image: int, category: int, bbox: list[int], score: float) -> dict:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": score}


FOUND = [
    row(1, 1, A, 0.9),  # right
    row(1, 1, B, 0.8),  # a dog taken for a cat
    row(1, 1, FAR, 0.3),  # below the cat's best score
    row(2, 2, FAR, 0.7),  # nothing there
    row(2, 2, A, 0.25),  # right, above the dog's best score
]


def test_confusions_are_counted_from_the_best_score_of_each_class_on():
    found = diagnose(TRUTH, FOUND, scores=SCORES)
    # Rows: cat, dog, background; columns: detected as.
    assert found["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert confusion(TRUTH, FOUND, SCORES) == found["confusion"]


def test_worst_images_and_doubtful_labels():
    found = diagnose(TRUTH, FOUND, scores=SCORES)
    first, second = found["images"]
    assert (first["image"], first["right"], first["wrong"], first["missed"]) == (1, 1, 1, 1)
    assert (second["image"], second["right"], second["wrong"], second["missed"]) == (2, 1, 1, 0)
    kinds = {(entry["kind"], entry["image"], entry["detected"]): entry for entry in found["labels"]}
    assert kinds["missing", 2, "dog"]["bbox"] == FAR
    assert kinds["wrong", 1, "cat"]["label"] == "dog"
    assert kinds["wrong", 1, "cat"]["label_bbox"] == B


def test_curves_and_calibration_have_every_detection():
    found = diagnose(TRUTH, FOUND, scores=SCORES)
    # Cats by falling score: right, wrong, wrong.
    assert found["curves"]["cat"]["precision"] == pytest.approx([1, 1 / 2, 1 / 3], abs=1e-4)
    assert found["curves"]["cat"]["recall"] == [1, 1, 1]
    assert sum(bin["count"] for bin in found["calibration"]["bins"]) == len(FOUND)


def test_a_perfect_detector_has_no_error():
    perfect = [row(a["image_id"], a["category_id"], a["bbox"], 0.9) for a in TRUTH["annotations"]]
    found = diagnose(TRUTH, perfect, scores=SCORES)
    assert found["confusion"] == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert found["labels"] == []
    assert not any(found["errors"]["gains"].values())
    assert set(mean_curve(TRUTH, perfect)["precision"]) == {1.0}


def test_without_a_detection_everything_is_missed():
    found = diagnose(TRUTH, [])
    assert found["confusion"] == [[0, 0, 1], [0, 0, 2], [0, 0, 0]]
    assert found["calibration"]["bins"] == []
    assert set(mean_curve(TRUTH, [])["precision"]) == {0.0}
