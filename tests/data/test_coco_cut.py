"""All files of a COCO folder cut 80/20 together, by a seed or by a list that the folder has."""

from __future__ import annotations

import json

import pytest

from smoothiou.data import choose_splits, list_splits, load_dataset
from smoothiou.data.splits import photo
from smoothiou.errors import DataError


def images(count: int, copies: str, hash_: str) -> dict:
    return {f"{n}_jpg.rf.{hash_}{copy}.jpg": [("dent", (1, 1, 9, 9))] for n in range(count) for copy in copies}


@pytest.fixture
def cars(make_coco, coco_dict):
    """Twenty photos in train, of which the first five are in val too."""
    train, val = images(20, "ab", "t"), images(5, "a", "v")
    train["0_jpg.rf.ta.jpg"] = [("dent", (90, 1, 11, 9))]  # It overhangs by one pixel.
    return make_coco(coco_dict(train, ["dent"]), coco_dict(val, ["dent"]))


def test_copies_of_one_photo_are_on_one_side_whichever_file_they_were_in(cars):
    assert list_splits(cars) == ("train", "val", "cut-train", "cut-val")
    assert choose_splits(cars) == ("train", "", "val")
    assert choose_splits(cars, train="cut-train") == ("cut-train", "", "cut-val")
    train, val = (load_dataset(cars, split=split) for split in ("cut-train", "cut-val"))
    names = [record.name for record in (*train.records, *val.records)]
    assert len(names) == len(set(names)) == 45
    assert not {photo(r.name) for r in train.records} & {photo(r.name) for r in val.records}
    assert len({photo(r.name) for r in val.records}) == 4
    assert "all files together, split 80/20 by seed 0" in train.notes
    # A fault is counted where its image is.
    overhang = [part.split for part in (train, val) if "train/0_jpg.rf.ta.jpg" in {r.name for r in part.records}]
    assert [part.split for part in (train, val) if part.counts()["faults"]] == overhang
    other = load_dataset(cars, split="cut-train", split_seed=1)
    assert [r.name for r in other.records] != [r.name for r in train.records]


def test_a_list_of_the_folder_decides(cars):
    listed = {"seed": 1, "train": ["train/3_jpg.rf.ta.jpg", "val/1_jpg.rf.va.jpg"], "val": ["train/7_jpg.rf.tb.jpg"]}
    (cars / "annotations" / "our_split_80_20.json").write_text(json.dumps(listed))
    assert list_splits(cars) == ("train", "val", "cut-train", "cut-val")
    train, val = (load_dataset(cars, split=split) for split in ("cut-train", "cut-val"))
    assert [r.name for r in train.records] == listed["train"]
    assert [r.name for r in val.records] == listed["val"]
    assert "train and val are the lists of our_split_80_20.json" in train.notes
    assert any(
        note.startswith("42 images that it does not name were left out: train/0_jpg.rf.ta") for note in val.notes
    )


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (["train/9.jpg"], [], r"our_split\.json: .*train/9\.jpg"),
        (["train/1_jpg.rf.ta.jpg"], ["val/1_jpg.rf.va.jpg"], "copies.*1_jpg"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(cars, train, val, message):
    (cars / "our_split.json").write_text(json.dumps({"train": train, "val": val}))
    with pytest.raises(DataError, match=message):
        load_dataset(cars, split="cut-val")


def test_one_file_has_no_cut_of_its_own(make_coco, coco_dict):
    root = make_coco(coco_dict(images(4, "a", "t"), ["dent"]))
    assert list_splits(root) == ("train",)
