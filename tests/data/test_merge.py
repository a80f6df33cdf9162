"""Several data sets read as one, by sums of folders and splits and by the names of the literature."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.formats.voc import CLASSES
from smoothiou.data.merge import Part, folders, parts, protocol_test
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import describe_data, open_splits, open_test
from smoothiou.errors import DataError

DOG = [("dog", (11, 21, 30, 40))]
CAT = [("cat", (1, 1, 50, 60))]


@pytest.fixture
def two_years(make_voc):
    """Both years with train, val and trainval, and 2007 with test; every image has another size."""
    first = make_voc(
        {"train": {"000001": DOG, "000002": CAT}, "val": {"000003": DOG}, "test": {"000004": CAT}}, name="VOC2007"
    )
    second = make_voc({"train": {"2008_000001": CAT}, "val": {"2008_000002": DOG}}, name="VOC2012")
    for root, names in ((first, ("000001", "000002", "000003")), (second, ("2008_000001", "2008_000002"))):
        (root / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names))
    return f"{first}+{second}"


def names(dataset):
    return [record.name for record in dataset.records]


def test_a_sum_of_folders_adds_their_splits(two_years):
    assert detect_format(two_years) == "voc"
    assert list_splits(two_years) == ("train", "val", "trainval")
    assert choose_splits(two_years) == ("train", "", "val")
    train = load_dataset(two_years)
    assert (train.name, train.split, train.format) == ("VOC2007+VOC2012", "train", "voc")
    assert names(train) == ["VOC2007/000001", "VOC2007/000002", "VOC2012/2008_000001"]
    assert train.classes == CLASSES
    assert train.counts()["per_class"]["cat"] == 2
    assert train.notes[0] == "merged, images of each: VOC2007:train 2, VOC2012:train 1"


@pytest.mark.parametrize(
    ("name", "found", "test"),
    [
        ("VOC++Train", ["VOC2007/000001", "VOC2007/000002", "VOC2012/2008_000001"], "VOC2012:val"),
        (
            "07+12",
            ["VOC2007/000001", "VOC2007/000002", "VOC2007/000003", "VOC2012/2008_000001", "VOC2012/2008_000002"],
            "VOC2007:test",
        ),
    ],
)
def test_merged_sets_have_their_right_names(two_years, name, found, test):
    assert choose_splits(two_years, train=name) == (name, "", test)
    assert names(load_dataset(two_years, split=name)) == found
    assert load_dataset(two_years, split=name.lower()).split == name
    assert len(load_dataset(two_years, split=test).records) == 1


def test_07_plus_plus_12_learns_from_2007_test_and_needs_boxes_of_2012_test(two_years):
    found = load_dataset(two_years, split="07++12")
    assert "VOC2007/000004" in names(found)
    assert len(found.records) == 6
    with pytest.raises(DataError, match=r"VOC2012:test.*no boxes.*--data\.test"):
        choose_splits(two_years, train="07++12")
    assert choose_splits(two_years, train="07++12", test="VOC2012:val")[2] == "VOC2012:val"


def test_a_split_is_written_as_a_sum(two_years):
    found = load_dataset(two_years, split="VOC2012:val+VOC2007:test")
    assert names(found) == ["VOC2012/2008_000002", "VOC2007/000004"]
    assert found.split == "VOC2012:val+VOC2007:test"
    one = load_dataset(two_years, split="voc2012:val")
    assert (one.name, one.split, names(one)) == ("VOC2012", "val", ["2008_000002"])
    path = two_years.split("+")[0]
    assert names(load_dataset(path, split="train+val")) == ["000001", "000002", "000003"]
    assert choose_splits(path, train="train+val") == ("train+val", "", "test")
    assert choose_splits(two_years, train="VOC2007:train", test="VOC2012:train+val") == (
        "VOC2007:train",
        "",
        "VOC2012:train+val",
    )


def test_data_may_say_what_train_means(two_years):
    first, second = two_years.split("+")
    data = f"{first}:trainval+{second}:train"
    assert names(load_dataset(data))[:3] == ["VOC2007/000001", "VOC2007/000002", "VOC2007/000003"]
    assert len(load_dataset(data).records) == 4
    # Of 2007, val is learnt from, so val of both cannot be what is tested on.
    with pytest.raises(DataError, match="no split"):
        choose_splits(data)
    assert choose_splits(data, test="VOC2012:val") == ("train", "", "VOC2012:val")


def test_what_is_learnt_or_tested_is_not_watched(two_years):
    assert choose_splits(two_years, train="VOC++Train", val="VOC2007:val") == (
        "VOC++Train",
        "VOC2007:val",
        "VOC2012:val",
    )
    path = two_years.split("+")[0]
    assert choose_splits(path) == ("train", "val", "test")
    assert choose_splits(path, train="train+val") == ("train+val", "", "test")


def test_an_image_in_two_of_the_splits_is_read_once(two_years):
    path = two_years.split("+")[0]
    found = load_dataset(path, split="train+trainval")
    assert names(found) == ["000001", "000002", "000003"]
    assert "2 images are in two of the merged splits and read once" in found.notes


def test_the_fingerprint_covers_all_parts(two_years, xml_file):
    before = load_dataset(two_years, split="VOC++Train").fingerprint
    assert load_dataset(two_years, split="VOC2007:train+VOC2012:train").fingerprint == before
    assert load_dataset(two_years, split="VOC2012:train+VOC2007:train").fingerprint != before
    for folder, image in zip(two_years.split("+"), ("000002", "2008_000001"), strict=True):
        xml_file(Path(folder) / "Annotations" / f"{image}.xml", [("cat", (1, 1, 50, 61))])
        changed = load_dataset(two_years, split="VOC++Train").fingerprint
        assert changed != before
        before = changed


def test_faults_of_all_parts_count_against_what_is_allowed(two_years, xml_file):
    for folder, image in zip(two_years.split("+"), ("000002", "2008_000001"), strict=True):
        xml_file(Path(folder) / "Annotations" / f"{image}.xml", [("cat", (30, 30, 10, 10)), ("cat", (1, 1, 50, 60))])
    with pytest.raises(DataError, match=r"2 boxes .*--allow-dropped 2"):
        load_dataset(two_years, allow_dropped=1)
    assert load_dataset(two_years, allow_dropped=2).counts()["dropped"] == 2


def test_classes_must_agree(two_years, make_voc, make_coco, coco_dict):
    cells = make_voc({"train": {"c": [("cell", (1, 1, 9, 9))]}, "val": {"d": [("cell", (1, 1, 9, 9))]}}, name="cells")
    with pytest.raises(DataError, match="VOC2007 and cells .*classes.*aeroplane, bicycle"):
        load_dataset(f"{two_years.split('+')[0]}+{cells}")
    # Also where one is learnt from and the other tested on.
    with pytest.raises(DataError, match="different classes"):
        open_splits(DataConfig(path=f"{two_years}+{cells}", train="VOC2007:train", test="cells:val"))
    content = coco_dict({"a.jpg": [("cell", (1, 1, 5, 5))]}, ["cell"])
    other = make_coco(content, content)
    assert load_dataset(f"{cells}+{other}").format == "voc+coco"


def test_the_same_classes_in_another_order_are_refused(make_coco, coco_dict):
    boxes = {"a.jpg": [("dog", (1, 1, 5, 5)), ("cat", (1, 1, 5, 5))]}
    one, two = (make_coco(coco_dict(boxes, order), name=order[0]) for order in (["dog", "cat"], ["cat", "dog"]))
    with pytest.raises(DataError, match="another order"):
        load_dataset(f"{one}+{two}")


def test_folders_of_one_name_are_told_by_their_paths(make_voc):
    one, two = (make_voc({"train": {"a": DOG}, "val": {"b": DOG}}, name=f"{home}/set") for home in ("x", "y"))
    found = load_dataset(f"{one}+{two}")
    assert names(found) == [f"{one}/a", f"{two}/a"]
    with pytest.raises(DataError, match='"set:val": several folders'):
        load_dataset(f"{one}+{two}", split="set:val")
    assert len(load_dataset(f"{one}+{two}", split=f"{two}:val").records) == 1


def test_mistakes_are_named(two_years, tmp_path):
    with pytest.raises(DataError, match="VOC2013.*VOC2007"):
        load_dataset(two_years, split="VOC2013:train")
    with pytest.raises(DataError, match='VOC2012: .*trian.* mean "train"'):
        choose_splits(two_years, train="VOC2007:train+VOC2012:trian")
    with pytest.raises(DataError, match='VOC2017: .*mean "VOC20'):
        load_dataset(f"{tmp_path}/VOC2012+{tmp_path}/VOC2017")
    with pytest.raises(DataError, match=r"FOLDER\+FOLDER"):
        load_dataset(f"{tmp_path}/VOC2007+")
    with pytest.raises(DataError, match=r"VOC2007:train: .*folder"):
        load_dataset(f"{tmp_path}/VOC2007:train:val")
    with pytest.raises(DataError, match=r"07\+12 .*0 of 2012"):
        load_dataset(two_years.split("+")[0], split="07+12")


def test_a_folder_that_is_really_called_so_is_read(make_voc):
    root = make_voc({"train": {"a": DOG}, "val": {"b": DOG}}, name="a+b:c")
    assert folders(root) == [Part(str(root), "")]
    assert names(load_dataset(root)) == ["a"]
    other = make_voc({"train": {"c": DOG}, "val": {"d": DOG}}, name="other")
    assert [part.folder for part in folders(f"{other}+{root}:train")] == [str(other), str(root)]
    assert parts(f"{other}+{root}", "val") == (Part(str(other), "val"), Part(str(root), "val"))
    assert protocol_test(root, "train") == ""


def test_a_run_opens_a_merged_set_as_any_other(two_years):
    splits = open_splits(DataConfig(path=two_years, train="VOC++Train"))
    assert (len(splits.train.records), splits.val, names(splits.test)) == (3, None, ["2008_000002"])
    facts = describe_data(splits)
    assert facts["train"]["split"] == "VOC++Train"
    assert facts["train"]["fingerprint"] == splits.train.fingerprint
    assert names(open_test(DataConfig(path=two_years, train="VOC++Train"))) == ["2008_000002"]


def test_what_2012_has_not_learnt_may_be_learnt_from_2007(make_voc):
    first = make_voc({"train": {"000001": DOG}, "val": {"000003": DOG}}, name="VOC2007")
    second = make_voc(
        {"train": {"2008_1": CAT}, "val": {"2008_2": DOG, "2008_3": [("cow", (1, 1, 9, 9))]}}, name="2012"
    )
    test = open_splits(DataConfig(path=f"{first}+{second}", train="VOC++Train")).test
    assert [note for note in test.notes if "without a box" in note] == [
        'classes without a box in the split "train": cow'
    ]
