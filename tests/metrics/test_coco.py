"""COCO's metrics against pycocotools, bit by bit, and every way in which their input can be wrong."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import random

import hotcoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from smoothiou.errors import DataError
from smoothiou.metrics import (
    ap_by_iou,
    engine,
    error_gains,
    evaluate_detections,
    per_class_ap,
)

KEYS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")


def random_set(seed: int, *, images: int = 12, classes: int = 3, density: int = 6) -> tuple[dict, list[dict]]:
    """A set with crowds, ignore flags, ties, all three sizes, and images without truth or detections."""
    draw = random.Random(seed)
    truth = {
        "images": [{"id": 10 + 3 * i, "width": 400, "height": 300, "file_name": f"{i}.jpg"} for i in range(images)],
        "annotations": [],
        "categories": [{"id": 5 * c + 1, "name": f"class {c}"} for c in range(classes)],
    }
    predictions = []
    for image in truth["images"]:
        for _ in range(draw.choice([0, 1, density])):
            x, y = draw.uniform(0, 200), draw.uniform(0, 150)
            width, height = (
                draw.choice([15, 60, 180]) * draw.uniform(0.5, 1),
                draw.choice([15, 60, 120]) * draw.uniform(0.5, 1),
            )
            category = draw.choice(truth["categories"])["id"]
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, width, height],
                    "area": width * height * draw.choice([1, 0.7]),
                    "iscrowd": int(draw.random() < 0.15),
                    "ignore": int(draw.random() < 0.1),
                }
            )
            for _ in range(draw.choice([0, 1, 3])):
                shift = 0.2 * min(width, height)
                box = [x + draw.uniform(-shift, shift), y + draw.uniform(-shift, shift), width, height]
                predictions.append(
                    {
                        "image_id": image["id"],
                        "category_id": category if draw.random() < 0.9 else draw.choice(truth["categories"])["id"],
                        "bbox": box,
                        "score": round(draw.random(), 1),  # one decimal: many ties
                    }
                )
    draw.shuffle(predictions)
    return truth, predictions


def reference(truth: dict, predictions: list[dict]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = copy.deepcopy(truth)
        ground.createIndex()
        if predictions:
            found = ground.loadRes(copy.deepcopy(predictions))
        else:  # loadRes fails on an empty list
            found = COCO()
            found.dataset = {**copy.deepcopy(truth), "annotations": []}
            found.createIndex()
        evaluation = COCOeval(ground, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def same_bits(ours: float, theirs: float) -> bool:
    return math.isnan(ours) if theirs == -1 else ours == theirs


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([1, 4, 12]), classes=st.integers(1, 4))
def test_equals_pycocotools_to_the_last_bit(seed: int, density: int, classes: int):
    truth, predictions = random_set(seed, density=density, classes=classes)
    evaluation = reference(truth, predictions)
    ours = evaluate_detections(truth, predictions)
    assert tuple(ours) == KEYS
    for key, theirs in zip(KEYS, evaluation.stats[:9], strict=True):
        assert same_bits(ours[key], theirs), (key, ours[key], theirs)
    precision = evaluation.eval["precision"][..., 0, 2]
    for threshold, value in enumerate(ap_by_iou(truth, predictions).values()):
        part = precision[threshold]
        assert same_bits(value, np.mean(part[part > -1]) if (part > -1).any() else -1)
    for place, value in enumerate(per_class_ap(truth, predictions).values()):
        part = precision[:, :, place]
        assert same_bits(value, np.mean(part[part > -1]) if (part > -1).any() else -1)


def test_more_than_a_hundred_detections_of_an_image_are_cut_as_in_the_reference():
    truth, predictions = random_set(3, images=1, classes=1, density=6)
    truth["annotations"] = [
        {
            "id": i + 1,
            "image_id": 10,
            "category_id": 1,
            "bbox": [3 * i, 0, 50, 50],
            "area": 2500,
            "iscrowd": 0,
        }
        for i in range(130)
    ]
    predictions = [
        {"image_id": 10, "category_id": 1, "bbox": [3 * i, 1, 50, 50], "score": 1 - i / 200} for i in range(130)
    ]
    ours, theirs = evaluate_detections(truth, predictions), reference(truth, predictions).stats[:9]
    assert all(same_bits(ours[key], value) for key, value in zip(KEYS, theirs, strict=True))
    assert ours["AR100"] == pytest.approx(100 / 130)  # 30 exact boxes are beyond the hundredth detection


def test_an_empty_prediction_list_scores_zero_and_not_undefined():
    truth, _ = random_set(1)
    ours = evaluate_detections(truth, [])
    assert all(same_bits(ours[key], value) for key, value in zip(KEYS, reference(truth, []).stats[:9], strict=True))
    assert ours["AP"] == 0.0


def test_a_truth_without_boxes_leaves_every_metric_undefined():
    truth, _ = random_set(1)
    truth["annotations"] = []
    assert all(math.isnan(value) for value in evaluate_detections(truth, []).values())


def one_box(**changes: object) -> tuple[dict, list[dict]]:
    truth = {
        "images": [{"id": 1}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    return truth, [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9, **changes}]


def test_the_exact_box_scores_one_everywhere_it_is_defined():
    ours = evaluate_detections(*one_box())
    # The reference divides by (found + 2e-16), so a perfect AP falls short of 1 by a few bits.
    assert [ours[key] for key in ("AP", "AP50", "AP75", "AP_medium")] == pytest.approx([1.0] * 4, abs=1e-15)
    assert ours["AR1"] == 1.0
    assert math.isnan(ours["AP_small"])  # 40 x 40 is medium: there is no small truth
    assert math.isnan(ours["AP_large"])


def test_a_box_of_iou_08_passes_seven_of_the_ten_thresholds():
    by_iou = ap_by_iou(*one_box(bbox=[10, 10, 40, 32.1]))
    assert list(by_iou) == [f"{0.5 + 0.05 * step:.2f}" for step in range(10)]
    assert list(by_iou.values()) == pytest.approx([1.0] * 7 + [0.0] * 3, abs=1e-15)
    assert evaluate_detections(*one_box(bbox=[10, 10, 40, 32.1]))["AP"] == pytest.approx(0.7)


def test_an_annotation_id_of_zero_counts_here_though_the_reference_loses_it():
    truth, predictions = one_box()
    truth["annotations"][0].update(id=0, area=1600, iscrowd=0)
    assert reference(truth, predictions).stats[0] < 1  # the reference's known fault
    assert evaluate_detections(truth, predictions)["AR1"] == 1.0


@pytest.mark.parametrize("ids", [[1, 1, 1], ["a", "b", None]])
def test_annotation_ids_carry_no_meaning(ids: list, capfd: pytest.CaptureFixture[str]):
    truth, predictions = random_set(9)
    wanted = str(evaluate_detections(truth, predictions))
    for entry, number in zip(truth["annotations"], ids * len(truth["annotations"]), strict=False):
        entry["id"] = number
    assert str(evaluate_detections(truth, predictions)) == wanted
    assert capfd.readouterr() == ("", "")  # nor does the engine complain about them


def test_neither_argument_is_changed_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]):
    truth, predictions = random_set(7)
    kept = copy.deepcopy((truth, predictions))
    evaluate_detections(truth, predictions)
    per_class_ap(truth, predictions)
    assert (truth, predictions) == kept
    assert capfd.readouterr() == ("", "")


def test_paths_and_numpy_numbers_give_the_same(tmp_path):
    truth, predictions = random_set(8)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(predictions))
    wanted = evaluate_detections(truth, predictions)
    assert str(evaluate_detections(tmp_path / "truth.json", str(tmp_path / "found.json"))) == str(wanted)
    for entry in predictions:
        entry.update(
            bbox=np.array(entry["bbox"]),
            score=np.float64(entry["score"]),
            image_id=np.int64(entry["image_id"]),
        )
    assert str(evaluate_detections(truth, tuple(predictions))) == str(wanted)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": NAN}, r"predictions\[0\]: score: .*finite.*nan"),
        ({"score": INFINITE}, r"predictions\[0\]: score"),
        ({"score": None}, r"predictions\[0\]: score"),
        ({"score": True}, r"predictions\[0\]: score"),
        ({"score": "0.9"}, r"predictions\[0\]: score"),
        ({"bbox": [0, 0, NAN, 1]}, r"predictions\[0\]: bbox: .*nan"),
        ({"bbox": [0, -INFINITE, 1, 1]}, r"predictions\[0\]: bbox"),
        ({"bbox": [0, 0, 1]}, r"predictions\[0\]: bbox"),
        ({"bbox": None}, r"predictions\[0\]: bbox"),
        ({"bbox": [0, 0, -1, 1]}, r"predictions\[0\]: bbox: .*width"),
        ({"image_id": 2}, r"predictions\[0\]: image_id: 2"),
        ({"image_id": "1"}, r"predictions\[0\]: image_id"),
        ({"category_id": 7}, r"predictions\[0\]: category_id: 7"),
        ({"category_id": 1.5}, r"predictions\[0\]: category_id"),
    ],
)
def test_a_fault_in_a_prediction_is_named_by_index_and_field(change: dict, words: str):
    with pytest.raises(DataError, match=words):
        evaluate_detections(*one_box(**change))


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_key_of_a_prediction_is_named(key: str):
    truth, predictions = one_box()
    del predictions[0][key]
    with pytest.raises(DataError, match=rf"predictions\[0\]: {key}"):
        evaluate_detections(truth, predictions)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.pop("images"), "images is missing"),
        (lambda t: t.pop("categories"), "categories is missing"),
        (lambda t: t.update(annotations={}), "annotations: .*list"),
        (lambda t: t["annotations"].append("box"), r"annotations\[1\]: .*dictionary"),
        (lambda t: t["annotations"][0].update(image_id=9), r"annotations\[0\]: image_id: 9"),
        (lambda t: t["annotations"][0].update(category_id=9), r"annotations\[0\]: category_id: 9"),
        (lambda t: t["annotations"][0].update(bbox=[0, 0, NAN, 1]), r"annotations\[0\]: bbox"),
        (lambda t: t["annotations"][0].update(area=INFINITE), r"annotations\[0\]: area"),
        (lambda t: t["images"].append({"id": 1}), r"images\[1\]: id 1"),
        (lambda t: t["images"].append({"id": "a"}), r"images\[1\]: id"),
        (lambda t: t["images"].append({"id": 2**70}), "refused by hotcoco"),
    ],
)
def test_a_fault_in_the_truth_is_named(edit, words: str):
    truth, predictions = one_box()
    edit(truth)
    with pytest.raises(DataError, match=words):
        evaluate_detections(truth, predictions)


def test_files_that_are_missing_cut_off_or_of_another_kind_are_named(tmp_path):
    truth, predictions = one_box()
    with pytest.raises(DataError, match=r"none\.json"):
        evaluate_detections(truth, tmp_path / "none.json")
    (tmp_path / "cut.json").write_text(json.dumps(predictions)[:-5])
    with pytest.raises(DataError, match=r"cut\.json.*JSON"):
        evaluate_detections(truth, tmp_path / "cut.json")
    (tmp_path / "nan.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, NaN, 1], "score": 1}]')
    with pytest.raises(DataError, match=r"nan\.json\[0\]: bbox"):
        evaluate_detections(truth, tmp_path / "nan.json")
    with pytest.raises(DataError, match="list.*dict"):
        evaluate_detections(truth, {"annotations": predictions})  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="not readable"):
        evaluate_detections(tmp_path, predictions)
    with pytest.raises(DataError, match="path.*list"):
        evaluate_detections([truth], predictions)  # pyright: ignore[reportArgumentType]


def test_two_classes_of_one_name_have_no_per_class_table():
    truth, predictions = one_box()
    truth["categories"].append({"id": 2, "name": "cell"})
    with pytest.raises(DataError, match="two .*'cell'"):
        per_class_ap(truth, predictions)


def test_per_class_ap_knows_the_class_that_was_missed():
    truth, predictions = one_box()
    truth["categories"] += [{"id": 3, "name": "absent"}, {"id": 2, "name": "missed"}]
    truth["annotations"].append({"image_id": 1, "category_id": 2, "bbox": [60, 60, 20, 20]})
    scores = per_class_ap(truth, predictions)
    assert list(scores) == ["cell", "missed", "absent"]
    assert (scores["cell"], scores["missed"]) == pytest.approx((1.0, 0.0), abs=1e-15)
    assert math.isnan(scores["absent"])


def test_error_gains_say_which_kind_of_error_was_made():
    # Shifted by 0.6 of its side, a detection has IoU 0.4 / 1.6 = 0.25 with its truth: too little to count, enough
    # to be a box of that object. Put right, it would find it: AP50 from 0 to 1.
    truth, _ = one_box()
    box = truth["annotations"][0]["bbox"]
    shifted = [box[0] + 0.6 * box[2], *box[1:]]
    found = {"image_id": 1, "category_id": truth["categories"][0]["id"], "score": 0.9}
    gains = error_gains(truth, [{**found, "bbox": shifted}])
    assert gains["localization"] == pytest.approx(1.0)
    assert (gains["classification"], gains["duplicate"], gains["background"]) == (0, 0, 0)
    right_and_twice = error_gains(truth, [{**found, "bbox": box}, {**found, "bbox": box, "score": 0.95}])
    assert right_and_twice["localization"] == 0
    assert set(gains) == {"localization", "classification", "both", "duplicate", "background", "missed"}


def test_the_engine_is_named_with_its_version():
    assert engine() == f"hotcoco-{hotcoco.__version__}"
