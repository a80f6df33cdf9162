"""A flag that is not understood is named and never counts as unset; where all boxes are ignored, nothing is left."""

from __future__ import annotations

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_split, open_splits
from smoothiou.errors import DataError
from smoothiou.metrics import evaluate_detections
from tests.data.doctor_sets import TRAINING
from tests.data.folders import BOX, CORNERS, ONE, records


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1", 1), (1.0, 1), ("0.0", 0), (False, 0), (" 1 ", 1)])
def test_a_flag_of_coco_is_0_or_1_in_any_form_of_a_number(make_coco, coco_dict, flag, value, expected):
    content = coco_dict({"a.jpg": [("cat", BOX), ("cat", (2, 2, 30, 30))]}, ["cat"])
    content["annotations"][0][flag] = value
    assert [box.ignored for box in records(make_coco(content))["a.jpg"].boxes] == [bool(expected), False]


NO_FLAGS = ["false", "no", "", float("nan"), float("inf"), [0], {}, None, 2, -1, 0.5, "1_0"]


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_any_other_flag_of_coco_is_named_with_its_index(make_coco, coco_dict, flag, value):
    content = coco_dict({"a.jpg": [("cat", (2, 2, 30, 30)), ("cat", BOX)]}, ["cat"])
    content["annotations"][1][flag] = value
    root = make_coco(content)
    with pytest.raises(DataError, match=rf"annotations\[1\].*{flag}"):
        load_dataset(root)
    places = [e.where for e in examine(root, training=TRAINING).finding("unreadable-annotation").examples]
    assert places == ["instances_train.json: annotations[1]"]


@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_an_evaluation_names_a_flag_that_is_none(value):
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": value}],
    }
    with pytest.raises(DataError, match=r"annotations\[0\].*iscrowd"):
        evaluate_detections(truth, [])


def difficult(text: str) -> str:
    return f"<object><name>dog</name><bndbox>{CORNERS}</bndbox><difficult>{text}</difficult></object>"


@pytest.mark.parametrize(
    ("text", "expected"), [("1.0", True), ("1", True), (" 1 ", True), ("0.0", False), ("", False), ("true", True)]
)
def test_a_difficult_object_of_voc_is_so_in_any_form_of_a_number(tmp_path, xml_file, text, expected):
    annotation = read_annotation(xml_file(tmp_path / "a.xml", extra=difficult(text)), root=tmp_path)
    assert annotation.boxes[0].difficult is expected


@pytest.mark.parametrize("text", ["2", "maybe", "nan", "-1", "Unspecified", "0,1"])
def test_any_other_difficult_is_named_with_its_object(tmp_path, xml_file, text):
    path = xml_file(tmp_path / "a.xml", ONE, extra=difficult(text))
    with pytest.raises(DataError, match=r"a\.xml: object 2.*difficult"):
        read_annotation(path, root=tmp_path)


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_whose_boxes_are_all_crowds_or_ignored_stops(make_coco, coco_dict, flag, split):
    contents = {part: coco_dict({f"{part}.jpg": [("cat", BOX)]}, ["cat"]) for part in ("train", "val")}
    contents[split]["annotations"][0][flag] = 1
    root = make_coco(contents["train"], contents["val"])
    with pytest.raises(DataError, match=f'"{split}".*no box'):
        open_splits(DataConfig(path=str(root)))
    finding = examine(root, training=TRAINING).finding("empty-split")
    assert [example.where for example in finding.examples] == [split]


def test_a_split_whose_boxes_are_all_difficult_or_dropped_stops(make_voc, xml_file):
    root = make_voc({"train": {"a": [], "b": [("dog", (40, 1, 10, 9))]}})
    xml_file(root / "Annotations" / "a.xml", extra=difficult("1"))
    with pytest.raises(DataError, match='"train".*no box'):
        open_split(DataConfig(path=str(root), allow_dropped=1), "train")


@pytest.mark.parametrize(
    "key", ["isCrowd", "is_crowd", "IsCrowd", "Ignore", "iscrowd ", "is-crowd", "difficult", "crowd"]
)
def test_another_spelling_of_a_flag_of_coco_is_named(make_coco, coco_dict, key):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["annotations"][0][key] = 1
    with pytest.raises(DataError, match=rf"annotations\[0\].*{key}"):
        load_dataset(make_coco(content))


def test_flags_of_other_tools_that_are_not_set_do_not_matter(tmp_path, xml_file):
    flags = "<deleted>0</deleted><ignore>0</ignore>"
    flags += "<attributes><attribute><name>ignore</name><value>false</value></attribute></attributes>"
    extra = f"<object><name>dog</name>{flags}<bndbox>{CORNERS}</bndbox></object>"
    assert len(read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path).boxes) == 1
