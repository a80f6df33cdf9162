"""A cut that we make leaves no photo on two sides, whatever its copies are called."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.data import choose_splits, list_splits, load_dataset
from smoothiou.data.copies import group_copies
from smoothiou.data.leaks import same_photos
from smoothiou.data.splits import CUT_SHARES, seeded_cut

ONE = [("cat", (10, 10, 40, 50))]
TWINS = {"03": "07", "11": "02"}
"""Images that are copies, by the image that they copy."""


def layouts(tmp_path, image_file, xml_file, coco_dict, name):
    """A set of 20 images without splits in one of the formats that are cut, two of them copies of others."""
    root = tmp_path / name
    names = [f"{number:02d}" for number in range(20)]
    folder, stem = {
        "voc": (root / "images", "{}"), "pets": (root / "images", "cat_{}"), "coco": (root / "images", "{}"),
        "udacity": (root, "14780199{}.jpg".removesuffix(".jpg")),
    }[name]  # fmt: skip
    stems = {number: stem.format(number) for number in names}
    for number in names:
        image_file(folder / f"{stems[number]}.jpg")
    for copy, original in TWINS.items():
        shutil.copy(folder / f"{stems[original]}.jpg", folder / f"{stems[copy]}.jpg")
    if name in ("voc", "pets"):
        for each in stems.values():
            xml_file(root / "annotations" / ("xmls" if name == "pets" else "") / f"{each}.xml", ONE)
    if name == "pets":
        (root / "annotations" / "trainval.txt").write_text("".join(f"{each} 1 1 1\n" for each in stems.values()))
    if name == "coco":
        content = coco_dict({f"{each}.jpg": [("cat", (10, 10, 30, 40))] for each in stems.values()}, ["cat"])
        (root / "annotations.json").write_text(json.dumps(content))
    if name == "udacity":
        rows = "".join(f"10,10,40,50,{each}.jpg,Car,\n" for each in stems.values())
        (root / "labels.csv").write_text(f"xmin,ymin,xmax,ymax,Frame,Label,Preview URL\n{rows}")
    return root, {stems[copy]: stems[original] for copy, original in TWINS.items()}


@pytest.mark.parametrize("name", ["voc", "pets", "coco", "udacity"])
@pytest.mark.parametrize("cut", CUT_SHARES)
def test_copies_by_content_are_on_one_side_in_every_format(tmp_path, image_file, xml_file, coco_dict, name, cut):
    root, twins = layouts(tmp_path, image_file, xml_file, coco_dict, name)
    assert [split for split in list_splits(root, cut=cut) if split in CUT_SHARES[cut]] == list(CUT_SHARES[cut])
    torn = 0
    for seed in range(4):
        data = {split: load_dataset(root, split=split, split_seed=seed, cut=cut) for split in CUT_SHARES[cut]}
        assert sum(len(part.records) for part in data.values()) == 20
        for split in list(data)[1:]:
            assert not same_photos(data["train"], data[split])
        assert any("2 copies" in note for note in data["train"].notes)
        # The names alone would have torn them apart with some seed, so that this test says something.
        side = {n: part for part, names in seeded_cut([*twins, *twins.values()], seed=seed).items() for n in names}
        torn += any(side[copy] != side[original] for copy, original in twins.items())
    assert torn


def test_three_parts_are_trained_on_watched_and_tested_on(tmp_path, image_file, xml_file, coco_dict):
    root, _ = layouts(tmp_path, image_file, xml_file, coco_dict, "voc")
    assert choose_splits(root) == ("train", "", "val")
    assert choose_splits(root, cut="70/15/15") == ("train", "val", "test")


@given(st.integers(0, 99), st.integers(5, 200))
def test_shares_are_those_of_the_cut_and_none_is_empty(seed, count):
    names = [str(number) for number in range(count)]
    cut = seeded_cut(names, seed=seed, shares=CUT_SHARES["70/15/15"])
    assert sorted(name for part in cut.values() for name in part) == sorted(names)
    assert all(cut.values())
    assert len(cut["train"]) == pytest.approx(0.7 * count, abs=1)
    assert abs(len(cut["val"]) - len(cut["test"])) <= 2
    # The first images of the same order go to train in both, so the larger training split holds the smaller.
    assert set(cut["train"]) <= set(seeded_cut(names, seed=seed)["train"])


def test_a_chain_of_copies_is_one_group_in_any_order(tmp_path, image_file):
    photo = image_file(tmp_path / "a.jpg")
    for name in ("b.rf.1.jpg", "z.jpg"):
        shutil.copy(photo, tmp_path / name)
    image_file(tmp_path / "b.rf.2.jpg")
    image_file(tmp_path / "c.jpg")
    files = {
        name: lambda name=name: tmp_path / name for name in ("z.jpg", "c.jpg", "b.rf.2.jpg", "b.rf.1.jpg", "a.jpg")
    }
    for each in (files, dict(reversed(files.items()))):
        group, notes = group_copies(each)
        assert len({group(name) for name in files if name != "c.jpg"}) == 1
        assert group("c.jpg") == "c.jpg"
        assert group("z.jpg") == "a.jpg"
        assert "2 copies" in notes[0]


def test_without_copies_groups_are_those_of_the_names(tmp_path, image_file):
    names = ("a.jpg", "b.rf.1.jpg", "b.rf.2.jpg")
    files = {name: lambda name=name: image_file(tmp_path / name) for name in names}
    group, notes = group_copies({**files, "gone.jpg": lambda: None})
    assert [group(name) for name in (*names, "gone.jpg")] == ["a.jpg", "b", "b", "gone.jpg"]
    assert notes == []
