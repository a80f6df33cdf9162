"""PASCAL VOC: conversion, layouts, lists and faults, on files made here."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoothiou.data import load_dataset
from smoothiou.data.formats.voc import CLASSES
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.errors import DataError
from tests.data.folders import boxes

ONE = [("dog", (11, 21, 30, 40))]


def test_corners_are_one_based_and_inclusive(make_voc):
    # Pixels 11..30 are 20 pixels wide: from edge 10 to edge 30.
    dataset = load_dataset(make_voc({"train": {"a": ONE, "b": [("cat", (1, 1, 100, 80))]}}))
    assert boxes(dataset) == [(10, 20, 30, 40), (0, 0, 100, 80)]
    assert [record.name for record in dataset.records] == ["a", "b"]
    assert dataset.faults == ()


def test_a_box_of_one_pixel_has_area_as_its_corners_are_inclusive(make_voc):
    assert boxes(load_dataset(make_voc({"train": {"a": [("dog", (5, 6, 5, 6))]}}))) == [(4, 5, 5, 6)]


@given(
    corners=st.tuples(*[st.floats(1, 50, allow_nan=False).map(lambda v: round(v, 2))] * 4),
    order=st.permutations(["xmin", "ymin", "xmax", "ymax"]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_conversion_and_back_gives_the_annotation_in_any_order_of_tags(tmp_path, corners, order):
    values = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    tags = "".join(f"<{tag}> {values[tag]} </{tag}>" for tag in order)
    (tmp_path / "a.xml").write_text(f"<annotation><object><name>x</name><bndbox>{tags}</bndbox></object></annotation>")
    x1, y1, x2, y2 = read_annotation(tmp_path / "a.xml", root=tmp_path).boxes[0].xyxy
    assert (x1 + 1, y1 + 1, x2, y2) == pytest.approx(corners, abs=1e-9)


def test_parts_are_no_objects_and_difficult_may_stand_anywhere(tmp_path, xml_file):
    box = "<bndbox><xmax>9</xmax><xmin>1</xmin><ymax>8</ymax><ymin>2</ymin></bndbox>"
    extra = (
        f"<object><name>person</name>{box}<difficult>1</difficult>"
        f"<part><name>head</name>{box}</part><part><name>hand</name>{box}</part></object>"
        f"<object><name>dog</name><truncated>1</truncated>{box}</object>"
    )
    annotation = read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path)
    assert [(box.label, box.difficult, box.where) for box in annotation.boxes] == [
        ("person", True, "a.xml: object 1"),
        ("dog", False, "a.xml: object 2"),
    ]


def test_classes_are_voc_s_own_twenty_where_all_names_are_voc_s(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {"b": [("aeroplane", (1, 1, 9, 9))]}})
    for split in ("train", "val"):
        assert load_dataset(root, split=split).classes == CLASSES


def test_other_classes_are_sorted_and_collected_over_all_splits(make_voc):
    root = make_voc({"train": {"a": [("zebra", (1, 1, 9, 9))]}, "val": {"b": [("ant", (1, 1, 9, 9)), *ONE]}})
    train, val = (load_dataset(root, split=split) for split in ("train", "val"))
    assert train.classes == val.classes == ("ant", "dog", "zebra")
    assert train.notes == ()
    assert val.notes == ('classes without a box in the split "train": ant, dog',)


def test_lists_may_have_a_second_column_endings_blank_lines_and_a_byte_order_mark(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE, "c d": ONE}})
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").write_bytes("\ufeffb  1\r\n\r\na.jpg -1\r\nc d\r\nb\r\n".encode())
    dataset = load_dataset(root)
    assert [record.name for record in dataset.records] == ["b", "a", "c d"]
    assert dataset.notes == ("train.txt names 1 image twice; each was read once",)


def test_lists_of_one_class_are_no_splits(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {"b": ONE}, "my_val": {"b": ONE}})
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\n")
    (root / "ImageSets" / "Main" / "dog_val.txt").write_text("b -1\n")
    assert list_splits(root) == ("train", "val", "my_val")


def test_images_that_no_list_names_are_not_read(make_voc, image_file, xml_file):
    root = make_voc({"train": {"a": ONE}})
    image_file(root / "JPEGImages" / "2007_000001.jpg")
    xml_file(root / "Annotations" / "2007_000001.xml", [("unicorn", (1, 1, 9, 9))])
    xml_file(root / "Annotations" / "no_image.xml", ONE)
    dataset = load_dataset(root)
    assert [record.name for record in dataset.records] == ["a"]
    assert "unicorn" not in dataset.classes


@pytest.mark.parametrize("place", ["", "annotations", "Annotations"])
def test_flat_folders_are_cut_by_a_seed(tmp_path, image_file, xml_file, place):
    root = tmp_path / "flat"
    images = root / {"": "", "annotations": "images", "Annotations": "JPEGImages"}[place]
    for number in range(10):
        image_file(images / f"{number}.png")
        xml_file(root / place / f"{number}.xml", ONE)
    image_file(images / "alone.png")
    assert detect_format(root) == "voc"
    assert list_splits(root) == ("train", "val")
    names = {
        (split, seed): [r.name for r in load_dataset(root, split=split, split_seed=seed).records]
        for split in ("train", "val")
        for seed in (0, 1)
    }
    assert len(names["train", 0]) == 8
    assert sorted(names["train", 0] + names["val", 0]) == [str(n) for n in range(10)]
    assert names["train", 0] != names["train", 1]
    assert load_dataset(root).notes == (
        "split 80/20 by seed 0: none is shipped",
        "1 image without XML left out: alone",
    )
    assert load_dataset(root).classes == ("dog",)


def test_folders_per_split_are_splits(tmp_path, image_file, xml_file):
    for split in ("train", "valid", "test"):
        image_file(tmp_path / "r" / split / f"{split}.jpg")
        xml_file(tmp_path / "r" / split / f"{split}.xml", ONE)
    assert list_splits(tmp_path / "r") == ("train", "valid", "test")
    assert load_dataset(tmp_path / "r", split="val").split == "valid"


def test_a_listed_image_without_xml_is_a_counted_fault(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    (root / "Annotations" / "b.xml").unlink()
    dataset = load_dataset(root)
    assert [(f.kind, f.where, f.drops) for f in dataset.faults] == [("missing-annotation", "b", True)]
    assert dataset.counts()["dropped"] == 1


def test_a_split_in_which_every_xml_lacks_has_no_boxes(make_voc):
    root = make_voc({"train": {"a": ONE}, "test": {"b": ONE}})
    (root / "Annotations" / "b.xml").unlink()
    assert list_splits(root) == ("train",)
    with pytest.raises(DataError, match='"test".*no boxes'):
        load_dataset(root, split="test")


def test_an_image_without_objects_is_kept(make_voc):
    dataset = load_dataset(make_voc({"train": {"a": ONE, "empty": []}}))
    assert dataset.counts()["images_without_boxes"] == 1


def test_missing_images_are_counted_and_three_are_named(make_voc):
    root = make_voc({"train": {str(n): ONE for n in range(5)}})
    for n in range(4):
        (root / "JPEGImages" / f"{n}.jpg").unlink()
    with pytest.raises(DataError, match="4 .*missing: 0, 1, 2.* 1 more"):
        load_dataset(root)


def test_the_size_of_the_file_wins(make_voc, xml_file):
    root = make_voc({"train": {"a": ONE}})
    xml_file(root / "Annotations" / "a.xml", ONE, size=(640, 480))
    dataset = load_dataset(root)
    assert (dataset.records[0].width, dataset.records[0].height) == (100, 80)
    assert [f.message for f in dataset.faults] == ["says 640 x 480 pixels, but the image file has 100 x 80"]


def test_boxes_are_clipped_dropped_when_allowed_and_else_refused(make_voc):
    bad = [("dog", (10, 10, 9, 20)), ("dog", (300, 10, 320, 20)), ("dog", ("nan", 1, 2, 3))]
    root = make_voc({"train": {"a": [*ONE, ("dog", (90, 70, 103, 80)), *bad]}})
    with pytest.raises(DataError, match=r"3 boxes.*a\.xml: object 3.*object 4.*object 5"):
        load_dataset(root, allow_dropped=2)
    dataset = load_dataset(root, allow_dropped=3)
    assert boxes(dataset) == [(10, 20, 30, 40), (89, 69, 100, 80)]
    assert [fault.kind for fault in dataset.faults] == ["overhang", "no-area", "outside", "no-area"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", r"a\.xml, line 3"),
        ("", r"a\.xml, line 1"),
        ('<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotation>&d;</annotation>', "declares entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "declares entities"),
        ("<annotation><object><bndbox/></object></annotation>", "object 1.*name"),
        ("<annotation><object><name>dog</name></object></annotation>", r"object 1 \(dog\).*xmin"),
        (
            "<annotation><object><name>dog</name><bndbox><xmin>a</xmin></bndbox></object></annotation>",
            "xmin.*'a'",
        ),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', r"a\.xml"),
    ],
)
def test_broken_xml_is_one_sentence_with_its_place(make_voc, content, message):
    root = make_voc({"train": {"a": ONE}})
    (root / "Annotations" / "a.xml").write_text(content)
    with pytest.raises(DataError, match=message):
        load_dataset(root)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x.jpg", "C:\\x.jpg"])
def test_a_file_name_that_leads_out_is_refused(make_voc, xml_file, name):
    root = make_voc({"train": {"a": ONE}})
    xml_file(root / "Annotations" / "a.xml", ONE, file_name=name)
    with pytest.raises(DataError, match="relative path"):
        load_dataset(root)


def test_a_list_cannot_name_files_elsewhere(make_voc):
    root = make_voc({"train": {"a": ONE}})
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n../../secret\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: "):
        load_dataset(root)


def test_an_image_that_links_out_of_the_folder_is_refused(make_voc, image_file, tmp_path):
    root = make_voc({"train": {"a": ONE}})
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages" / "a.jpg").symlink_to(image_file(tmp_path / "elsewhere" / "b.jpg"))
    with pytest.raises(DataError, match="data folder"):
        load_dataset(root)


def test_unknown_and_empty_splits_are_refused(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {}})
    with pytest.raises(DataError, match='mean "train"'):
        load_dataset(root, split="trian")
    with pytest.raises(DataError, match='"val".*no boxes'):
        load_dataset(root, split="val")


def test_images_of_2007_that_2012_carries_are_never_globbed(make_voc, image_file, xml_file):
    root = make_voc({"train": {"2008_000001": ONE}, "val": {"2009_000002": ONE}}, name="VOC2012")
    for name in ("2007_000027", "2007_000032"):
        image_file(root / "JPEGImages" / f"{name}.jpg")
        xml_file(root / "Annotations" / f"{name}.xml", [("sheep", (1, 1, 9, 9))])
    found = [load_dataset(root, split=split) for split in ("train", "val")]
    assert [record.name for dataset in found for record in dataset.records] == ["2008_000001", "2009_000002"]
    assert found[0].counts()["per_class"]["sheep"] == 0
    # Without the lists nothing tells them from the others' splits.
    for path in (root / "ImageSets" / "Main").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="2007_000027, 2007_000032 .*ImageSets/Main"):
        load_dataset(root)
