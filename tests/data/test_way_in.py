"""Which format, which splits, and the seeded cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.splits import find_split, seeded_cut, usual_name
from smoothiou.errors import ConfigError, DataError

ONE = [("dog", (11, 21, 30, 40))]


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("train", "val"), ("train", "", "val")),
        (("train", "test"), ("train", "", "test")),
        (("train2007", "valid"), ("train2007", "", "valid")),
    ],
)
def test_splits_that_are_chosen_unasked(make_voc, splits, chosen):
    root = make_voc({split: {split: ONE} for split in splits})
    assert choose_splits(root) == chosen
    assert choose_splits(root, format="auto") == chosen


def test_splits_that_are_asked_for_are_taken(make_voc):
    root = make_voc({split: {split: ONE} for split in ("train", "val", "trainval", "test")})
    assert choose_splits(root, test="val") == ("train", "", "val")
    assert choose_splits(root, val="test", test="val") == ("train", "test", "val")
    with pytest.raises(DataError, match='mean "train"'):
        choose_splits(root, train="trian")


def test_val_is_not_watched_when_it_was_learnt_from(make_voc):
    root = make_voc({split: {split: ONE} for split in ("val", "trainval", "test")})
    assert choose_splits(root, train="trainval") == ("trainval", "", "test")
    root = make_voc({split: {split: ONE} for split in ("val", "trainval")}, name="no_test")
    with pytest.raises(DataError, match=r"no split .*: val, trainval\. .*--data\.test"):
        choose_splits(root, train="trainval")


def test_a_test_split_without_boxes_is_not_chosen(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {"b": ONE}, "test": {"c": []}})
    assert list_splits(root) == ("train", "val")
    assert choose_splits(root) == ("train", "", "val")


def test_one_split_is_not_enough(make_voc):
    with pytest.raises(DataError, match=r"no split.*: train\."):
        choose_splits(make_voc({"train": {"a": ONE}}))


def test_unknown_places_say_what_was_looked_for_and_found(tmp_path, make_voc):
    (tmp_path / "bccd").mkdir()
    with pytest.raises(DataError, match='bccx: .*mean "bccd"'):
        detect_format(tmp_path / "bccx")
    with pytest.raises(DataError, match=r"\(pets\).*\(voc\).*\(coco\).*\(udacity\).*empty folder"):
        detect_format(tmp_path / "bccd")
    (tmp_path / "bccd" / "labels.csv").write_text("frame,xmin")
    with pytest.raises(DataError, match=r"Found: labels\.csv"):
        detect_format(tmp_path / "bccd")
    with pytest.raises(DataError, match=r"labels\.csv: .*ymin, xmax, ymax, label"):
        detect_format(tmp_path / "bccd" / "labels.csv")
    (tmp_path / "bccd" / "labels.txt").write_text("a 1")
    with pytest.raises(DataError, match="expected a folder"):
        detect_format(tmp_path / "bccd" / "labels.txt")
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(tmp_path / "gone", format="voc")


def test_a_folder_above_the_data_set_points_to_it(make_voc, tmp_path):
    make_voc({"train": {"a": ONE}}, name="kit/VOC2007")
    with pytest.raises(DataError, match=r"Pass .*VOC2007 instead"):
        detect_format(tmp_path / "kit")


def test_the_format_can_be_said(make_voc):
    root = make_voc({"train": {"a": ONE}})
    assert load_dataset(root, format="voc").format == "voc"
    with pytest.raises(ConfigError, match='mean "voc"'):
        load_dataset(root, format="vok")
    with pytest.raises(DataError, match="no COCO file"):
        load_dataset(root, format="coco")
    with pytest.raises(ConfigError, match=r"data\.labels"):
        load_dataset(root, labels="breed")


def test_usual_names():
    names = ["train", "train2017", "val_2017", "valid", "validation", "Test", "trainval", "night", "2007"]
    assert [usual_name(name) for name in names] == [
        *("train", "train", "val", "val", "val", "test", "trainval", "night", ""),
    ]


def test_a_name_that_may_mean_two_splits_is_refused():
    with pytest.raises(DataError, match="train2014 or train2017"):
        find_split("train", ["train2014", "train2017"], data="coco")
    assert find_split("train2014", ["train2014", "train2017"], data="coco") == "train2014"
    with pytest.raises(DataError):
        find_split("train2014", ["train2017"], data="coco")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=5)


@given(st.lists(NAMES, unique=True, min_size=2, max_size=60), st.integers(0, 99))
def test_a_cut_keeps_every_name_once_and_never_splits_copies(names, seed):
    copies = [f"{name}.rf.{copy}" for name in names for copy in "ab"]
    cut = seeded_cut(copies, seed=seed)
    assert sorted(cut["train"] + cut["val"]) == sorted(copies)
    assert cut["train"]
    assert cut["val"]
    assert not {c.split(".rf.")[0] for c in cut["train"]} & {c.split(".rf.")[0] for c in cut["val"]}


def test_a_cut_is_the_same_on_every_machine_and_does_not_hang_on_the_order():
    names = [f"image_{n:02d}" for n in range(10)]
    assert seeded_cut(names, seed=0)["val"] == seeded_cut(reversed(names), seed=0)["val"][::-1]
    assert seeded_cut(names, seed=0)["val"] == ["image_04", "image_06"]
