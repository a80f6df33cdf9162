"""The doctor on the real data sets beside the checkout: it finds the faults that their descriptions list."""

from __future__ import annotations

import os
import time

import pytest

from smoothiou.data.doctor import examine, quick_look
from smoothiou.engine.config import DataConfig, RunConfig
from smoothiou.engine.open_data import open_splits
from smoothiou.errors import DataError
from smoothiou.report.doctor import training_of

# Folder (or file in it), settings, {check: how many}, and words of examples; no other error may be found.
KNOWN = [
    ("bccd", {}, {"point-box": 2}, ["BloodImage_00338.xml: object 13", "BloodImage_00343.xml: object 4"]),
    ("playing_cards", {}, {}, []),
    ("voc2007", {}, {}, []),
    ("voc2007_native", {}, {"rare-class": 11}, []),
    ("voc2012", {}, {"unlearnt-class": 2}, ["train", "bus"]),  # the one bus to train on is difficult
    (
        "car_damage",
        {"model.min_size": 416, "model.max_size": 416},
        {"same-photo": 4, "unused-class": 1, "no-boxes": 8, "overhang": 14, "tiny-box": 249, "long-tail": 1},
        ["severity-damage", "minor-scratch has 859 of 1195 boxes (72 %)", "31_jpg.rf.83fc"],
    ),
    ("coco_mini", {}, {"no-boxes": 2}, ["000000000250.jpg", "000000000508.jpg"]),
    (
        "oxford_pets",
        {},
        {"missing-annotation": 4, "empty-split": 0, "wrong-ending": 2, "not-rgb": 2, "unlisted-image": 1},
        [
            *("Abyssinian_104", "Bengal_111", "Bengal_175"),
            *("Abyssinian_34.jpg: holds GIF", "Abyssinian_5.jpg: holds PNG", "Abyssinian_5.jpg: is with alpha"),
            "is the head",
        ],
    ),
    (
        "road_signs",
        {},
        # Not in its description: two of its files have the same bytes.
        {"missing-image": 6, "wrong-ending": 26, "not-rgb": 3, "duplicate-image": 1},
        ["road529.xml", "road530.xml", "road531.xml", "holds JPEG data", "is with alpha (PNG)"],
    ),
    (
        "udacity",
        {},
        {"no-area": 4, "outside-image": 2, "duplicate-box": 3, "column-order": 1, "missing-image": 22281},
        [
            "labels_autti.csv.gz, line 1680: leaves its image by 4 pixels of 1920 x 1200",
            "leaves its image by 2 pixels",
            "labels_crowdai_wrong_header_sample.csv: the numbers stand in the order xmin,ymin,xmax,ymax",
        ],
    ),
    ("udacity/labels_crowdai.csv.gz", {}, {"no-area": 4, "missing-image": 9218}, ["y 0 to 0"]),
    (
        "udacity/labels_autti.csv.gz",
        {},
        {"outside-image": 2, "duplicate-box": 3, "missing-image": 13063},
        ["line 12635: is the same as"],
    ),
    ("udacity/labels_crowdai_wrong_header_sample.csv", {}, {"column-order": 1}, []),
]


SLOW = ("udacity", "udacity/labels_autti.csv.gz", "udacity/labels_crowdai.csv.gz", "voc2007_native", "voc2007")
"""Sets of tens of thousands of rows, or whose kind another set here has."""
CASES = [pytest.param(*case, id=case[0], marks=[pytest.mark.slow] if case[0] in SLOW else []) for case in KNOWN]


@pytest.mark.parametrize(("name", "settings", "counts", "words"), CASES)
def test_what_is_known_is_found(shared_data, name, settings, counts, words):
    report = examine(shared_data / name, training=training_of(RunConfig().replace(settings)))
    found = {finding.check.id: finding.count for finding in report.findings}
    assert {check: found.get(check, 0) for check in counts} == counts
    errors = {finding.check.id for finding in report.findings if finding.check.severity == "error"}
    assert errors <= counts.keys() | {"missing-image"}
    assert any('"test" has no annotation' in note for note in report.as_json()["notes"]) == (name == "oxford_pets")
    told = [f"{e.where}: {e.message}" for finding in report.findings for e in finding.examples[:3]]
    for word in words:
        assert any(word in line for line in told), (word, told)


def test_crowds_are_neither_tiny_nor_faulty(shared_data):
    report = examine(shared_data / "coco_mini", training=training_of(RunConfig()))
    crowds = [box for entry in report.survey.entries for box in entry.boxes if box.crowd]
    assert len(crowds) == 10
    tiny = report.finding("tiny-box")
    assert tiny
    assert not any(box.ignored for example in tiny.examples for box in example.boxes)


def test_annotations_without_images_are_no_data_set(shared_data):
    with pytest.raises(DataError, match="data set"):
        examine(shared_data / "voc_annotations_full")


@pytest.mark.slow
def test_thirteen_hundred_images_take_seconds(shared_data):
    """20 seconds on two cores are allowed; the time of the processor is not at the mercy of other programs."""
    began = sum(os.times()[:2])
    clock = time.monotonic()
    report = examine(shared_data / "voc2007")
    assert (report.errors, len(report.survey.decoded)) == (0, 1300)
    assert sum(os.times()[:2]) - began < 15
    print(f"{time.monotonic() - clock:.1f} s")


def test_the_quick_form_takes_no_time(shared_data):
    """0.3 seconds are allowed on the blood cells."""
    splits = open_splits(DataConfig(path=str(shared_data / "bccd")))
    began = time.process_time()
    report = quick_look({"train": splits.train, "test": splits.test}, training=training_of(RunConfig()))
    assert time.process_time() - began < 0.3
    assert [finding.check.id for finding in report.findings] == ["point-box", "tiny-box"]
