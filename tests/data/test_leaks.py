"""Photos that are trained and measured on, and long tails, are noted."""

from __future__ import annotations

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.leaks import same_photos, warn
from smoothiou.data.long_tail import tail_note
from smoothiou.data.splits import photo
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_splits

DOG = [("dog", (1, 1, 30, 30))]


@pytest.fixture
def three(make_voc):
    """train a, b, c; val d, e, f: every image its own, until a test copies one."""
    root = make_voc({"train": dict.fromkeys("abc", DOG), "val": dict.fromkeys("def", DOG)})
    for number, name in enumerate("abcdef"):
        Image.new("RGB", (100, 80), (40 * number, 90, 10)).save(root / "JPEGImages" / f"{name}.jpg")
    return root


def sides(root):
    return [load_dataset(root, split=split) for split in ("train", "val")]


def test_different_photos_are_not_confused(three):
    assert same_photos(*sides(three)) == []
    splits = open_splits(DataConfig(path=str(three)))
    assert splits.test.faults == ()


def test_equal_bytes_are_one_photo_whatever_their_names(three):
    images = three / "JPEGImages"
    (images / "e.jpg").write_bytes((images / "b.jpg").read_bytes())
    assert same_photos(*sides(three)) == [("e", "b")]
    # Of equal length, but not equal.
    content = bytearray((images / "c.jpg").read_bytes())
    content[-3] ^= 1
    (images / "f.jpg").write_bytes(content)
    assert same_photos(*sides(three)) == [("e", "b")]


def test_one_file_behind_two_names_is_one_photo(three):
    (three / "JPEGImages" / "d.jpg").unlink()
    (three / "JPEGImages" / "d.jpg").symlink_to(three / "JPEGImages" / "a.jpg")
    assert same_photos(*sides(three)) == [("d", "a")]


def test_a_run_is_warned_with_names(three):
    images = three / "JPEGImages"
    for copy, original in (("d", "a"), ("e", "b")):
        (images / f"{copy}.jpg").write_bytes((images / f"{original}.jpg").read_bytes())
    test = open_splits(DataConfig(path=str(three))).test
    assert [(fault.kind, fault.where, fault.drops) for fault in test.faults] == [
        ("same-photo", "d", False),
        ("same-photo", "e", False),
    ]
    assert test.faults[0].message == 'is a of the training split "train"'
    assert '2 photos of the split "val" in the training split "train", too: d, e' in test.notes
    assert test.counts()["faults"] == {"same-photo": 2}
    assert test.fingerprint == load_dataset(three, split="val").fingerprint


def test_copies_of_an_exporter_are_told_by_their_names(make_coco, coco_dict):
    train = coco_dict({"1_jpg.rf.aa.jpg": [("dent", (1, 1, 9, 9))], "2.jpg": []}, ["dent"])
    val = coco_dict({"1_jpg.rf.bb.jpg": [("dent", (1, 1, 9, 9))], "2_jpg.rf.cc.jpg": []}, ["dent"])
    root = make_coco(train, val)
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        path.write_bytes(path.read_bytes() + bytes(number))  # So that no two have the same bytes.
    assert same_photos(*sides(root)) == [("1_jpg.rf.bb.jpg", "1_jpg.rf.aa.jpg")]


def test_drawn_images_are_no_files():
    sides = [load_dataset("shapes", split=split, images=6) for split in ("train", "test")]
    assert same_photos(*sides) == []
    assert warn(*sides) == sides[1]


@pytest.mark.parametrize(
    ("name", "same"),
    [("12.rf.ab.jpg", "12"), ("train/12.rf.ab.jpg", "12"), ("train/12.jpg", "train/12.jpg"), ("a", "a")],
)
def test_the_photo_behind_a_name(name, same):
    assert photo(name) == same


def test_a_long_tail_is_noted_with_its_ends(make_voc):
    assert tail_note({"a": 860, "b": 90, "c": 40, "d": 3, "e": 0}) == [
        "long tail: a has 860 of 993 boxes (87 %), the rarest classes d 3, c 40, b 90"
    ]
    assert tail_note({"a": 19, "b": 1}) == tail_note({}) == tail_note({"a": 0}) == tail_note({"a": 500}) == []
    many = {f"i{n}": [("scratch", (1, 1, 30, 30))] * 4 for n in range(5)} | {"j": [("dent", (1, 1, 9, 9))]}
    root = make_voc({"train": many, "val": many})
    note = "long tail: scratch has 20 of 21 boxes (95 %), the rarest classes dent 1"
    assert note in load_dataset(root).notes
    assert note not in load_dataset(root, split="val").notes
