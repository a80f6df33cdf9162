"""Files of COCO that are cut off or of another shape are named, and those beside the instances are splits."""

from __future__ import annotations

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.registry import list_splits
from smoothiou.errors import DataError
from tests.data.folders import BOX


def test_a_coco_file_that_is_cut_off_is_named_whatever_it_is_called(make_coco, coco_dict):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    file = root / "annotations" / "instances_train.json"
    whole = file.read_text()
    file.unlink()
    (root / "annotations" / "my_labels.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"my_labels\.json, line 1"):
        load_dataset(root)


@pytest.mark.parametrize("name", ["val.json", "test.json"])
def test_files_beside_instances_are_splits_too(make_coco, coco_dict, name):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    (root / "annotations" / name).write_text((root / "annotations/instances_train.json").read_text())
    assert name.partition(".")[0] in list_splits(root)


@pytest.mark.parametrize("content", ["[]", '{"Images": [], "Annotations": [], "Categories": []}'])
def test_a_split_of_coco_in_another_shape_is_named(make_coco, coco_dict, content):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    (root / "annotations" / "test.json").write_text(content)
    with pytest.raises(DataError, match=r"test\.json"):
        load_dataset(root, split="test")
