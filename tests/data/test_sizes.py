"""Sizes that are not understood are named, and others compared with the file."""

from __future__ import annotations

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.errors import DataError
from tests.data.folders import BOX, ONE


@pytest.mark.parametrize("size", [(960.0, 720), ("960", "720"), (960, "720.0")], ids=repr)
def test_a_size_in_any_form_of_a_number_is_compared_with_the_file(make_coco, coco_dict, size):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0] |= {"width": size[0], "height": size[1]}
    assert [fault.kind for fault in load_dataset(make_coco(content)).faults] == ["size-mismatch"]


@pytest.mark.parametrize(
    "size", [("wide", 80), (100.5, 80), (float("nan"), 80), ([100], 80), (True, 80), (100, None)], ids=repr
)
def test_a_size_that_is_no_whole_number_is_named(make_coco, coco_dict, size):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0] |= {"width": size[0], "height": size[1]}
    with pytest.raises(DataError, match=r"images\[0\].*(width|height)"):
        load_dataset(make_coco(content))


def test_sizes_of_voc_are_read_in_the_same_way(make_voc, xml_file):
    root = make_voc({"train": {"a": ONE}})
    xml_file(root / "Annotations" / "a.xml", ONE, size=("960.0", "720.0"))
    assert [fault.kind for fault in load_dataset(root).faults] == ["size-mismatch"]
    xml_file(root / "Annotations" / "a.xml", ONE, size=("wide", "720"))
    with pytest.raises(DataError, match=r"a\.xml.*width"):
        load_dataset(root)


@pytest.mark.parametrize("key", ["Width", "HEIGHT"])
def test_another_spelling_of_a_size_of_coco_is_named(make_coco, coco_dict, key):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0][key] = 96
    with pytest.raises(DataError, match=rf"images\[0\].*{key}"):
        load_dataset(make_coco(content))


@pytest.mark.parametrize(
    "size", ['<size width="9" height="9"/>', "<size><w>9</w><h>9</h></size>", "<size/><size><width>9</width></size>"]
)
def test_a_size_of_voc_that_is_not_understood_is_named(tmp_path, size):
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    with pytest.raises(DataError, match="size"):
        read_annotation(tmp_path / "a.xml", root=tmp_path)


@pytest.mark.parametrize("size", ["<size/>", "<size><depth>3</depth></size>", ""])
def test_an_annotation_may_have_no_size(tmp_path, size):
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    assert read_annotation(tmp_path / "a.xml", root=tmp_path).size is None
