"""Train and val cut anew: the same images, other sides, and never one of the test split."""

from __future__ import annotations

import pytest
from PIL import Image

from smoothiou.data.leaks import photo_groups
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_measured, open_splits
from smoothiou.errors import ConfigError

DOG = [("dog", (1, 1, 30, 30))]
LISTS = {"train": "abcdefghijkl", "val": "mnop", "test": "uvwxyz"}


@pytest.fixture
def data(make_voc):
    """12 images to train on, 4 to validate on, 6 to test on, each another photo."""
    root = make_voc({split: dict.fromkeys(names, DOG) for split, names in LISTS.items()})
    for number, name in enumerate("".join(LISTS.values())):
        Image.new("RGB", (100, 80), (9 * number, 90, 10)).save(root / "JPEGImages" / f"{name}.jpg")
    return root


def copy(root, original: str, name: str) -> None:
    (root / "JPEGImages" / f"{name}.jpg").write_bytes((root / "JPEGImages" / f"{original}.jpg").read_bytes())


def sides(root, seed: int | str, **settings):
    splits = open_splits(DataConfig(path=str(root), resplit=seed, **settings))
    assert splits.val is not None
    return splits, *({record.name for record in part.records} for part in (splits.train, splits.val, splits.test))


def test_each_seed_cuts_train_and_val_anew_and_leaves_the_test_split(data):
    shipped, *names = sides(data, "none")
    assert names == [set(listed) for listed in LISTS.values()]
    cuts = set()
    for seed in range(8):
        splits, train, val, test = sides(data, seed)
        assert (train | val, train & val, test) == (set("abcdefghijklmnop"), set(), set("uvwxyz"))
        assert (len(train), len(val)) == (12, 4)  # in the proportion of the lists
        assert splits.test.fingerprint == shipped.test.fingerprint
        assert sides(data, seed)[1] == train
        assert any(f"seed {seed}" in note for note in splits.train.notes)
        cuts.add(frozenset(val))
    assert len(cuts) > 4


def test_copies_of_one_photo_stay_on_one_side(data):
    for original, name in (("a", "m"), ("m", "b"), ("c", "n")):
        copy(data, original, name)
    for seed in range(8):
        _, train, *_ = sides(data, seed)
        assert len({"a", "b", "m"} & train) in (0, 3)
        assert len({"c", "n"} & train) in (0, 2)


def test_an_exporter_s_copies_and_one_file_twice_are_one_photo(data):
    copy(data, "a", "m")
    splits, *_ = sides(data, "none")
    records = [*splits.train.records, *splits.val.records, splits.train.records[1]]  # pyright: ignore
    groups = photo_groups(records)
    assert groups[0] == groups[12]  # a and m, of equal bytes
    assert groups[1] == groups[-1]  # b twice
    assert len(set(groups)) == 15


def test_a_photo_of_the_test_split_never_comes_into_train(data):
    copy(data, "u", "m")  # val has a test image: a cut would carry it into train
    copy(data, "v", "a")
    for seed in range(8):
        splits, train, val, _ = sides(data, seed)
        assert train | val == set("bcdefghijklnop")
        assert splits.test.counts()["faults"] == {}
        assert "2 that are in test" in splits.train.notes[-1]


def test_val_by_its_name_is_the_run_s_own_part(data):
    splits, *_ = sides(data, 3)
    config = DataConfig(path=str(data), resplit=3)
    assert open_measured(config, "val").fingerprint == splits.val.fingerprint  # pyright: ignore
    assert open_measured(config, "test").fingerprint == open_measured(config).fingerprint == splits.test.fingerprint


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"val": "train"}, "different images"),
        ({"val": "test"}, "different images"),
        ({"train": "val", "val": "train", "test": "train"}, "different images"),
    ],
)
def test_splits_of_the_same_images_cannot_be_cut(data, settings, named):
    with pytest.raises(ConfigError, match=named) as refused:
        sides(data, 0, **settings)
    assert "--data.val" in refused.value.hint


def test_without_a_val_split_each_seed_holds_a_fifth_of_train_back(data):
    (data / "ImageSets" / "Main" / "val.txt").unlink()
    splits, train, val, test = sides(data, 3)
    assert (len(train), len(val)) == (10, 2)
    assert train | val == set(LISTS["train"])
    assert test == set(LISTS["test"])
    assert any("train cut anew by seed 3: 10 and 2 images" in note for note in splits.train.notes)
    config = DataConfig(path=str(data), resplit=3)
    assert {record.name for record in open_measured(config, "val").records} == val
    assert sides(data, 4)[2] != val


def test_so_is_data_that_we_cut_80_20_ourselves(data):
    for name in LISTS:
        (data / "ImageSets" / "Main" / f"{name}.txt").unlink()
    _, train, val, test = sides(data, 0)
    assert (len(train), len(val), len(test)) == (14, 4, 4)
    assert len(train | val | test) == 22


def test_copies_of_a_single_photo_cannot_be_cut(make_voc):
    root = make_voc({"train": dict.fromkeys("abc", DOG), "test": dict.fromkeys("de", DOG)})
    for name in "bc":
        copy(root, "a", name)
    with pytest.raises(ConfigError, match="nothing is left"):
        open_splits(DataConfig(path=str(root), resplit=0))


def test_drawn_images_are_cut_too_but_loose_and_exact_boxes_are_not_mixed():
    _, train, val, test = sides("shapes", 6, images=12)
    assert (len(train), len(val), len(test)) == (12, 2, 4)
    assert any(name.startswith("val") for name in train)
    with pytest.raises(ConfigError, match=r"data\.loose"):
        sides("shapes", 5, images=12, loose=0.2)
