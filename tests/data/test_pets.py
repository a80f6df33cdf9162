"""Oxford-IIIT Pet: lists, labels and images without XML, on files made here."""

from __future__ import annotations

import pytest

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.formats.pets import tensorflow_cut
from smoothiou.errors import ConfigError, DataError

BOX = (11, 21, 30, 40)
NAMES = ["Bengal_1", "Bengal_2", "Abyssinian_1", "american_bulldog_12", "pug_3", "pug_4"]


@pytest.fixture
def pets(tmp_path, image_file, xml_file):
    """Six images of trainval, one of them without XML and one with two heads, and a test image without."""
    root = tmp_path / "pets"
    for name in [*NAMES, "pug_9"]:
        image_file(root / "images" / f"{name}.jpg")
    for name in NAMES[:-1]:
        label = "cat" if name[0].isupper() else "dog"
        heads = [(label, BOX)] * (2 if name == "Bengal_1" else 1)
        xml_file(root / "annotations" / "xmls" / f"{name}.xml", heads, file_name=f"{name}.jpg")
    lists = root / "annotations"
    (lists / "trainval.txt").write_text("#a comment\n" + "".join(f"{name} 1 1 1\n" for name in NAMES))
    (lists / "test.txt").write_text("pug_9 30 2 20\n")
    return root


@pytest.fixture
def pets_with_our_lists(pets):
    (pets / "annotations" / "our_train.txt").write_text("".join(f"{name} 1 1 1\n" for name in NAMES[:3]))
    (pets / "annotations" / "our_val.txt").write_text("".join(f"{name} 1 1 1\n" for name in NAMES[3:5]))
    return pets


def test_format_and_splits(pets_with_our_lists):
    assert detect_format(pets_with_our_lists) == "pets"
    assert list_splits(pets_with_our_lists) == ("train", "val", "trainval", "tf-train", "tf-val")
    assert choose_splits(pets_with_our_lists) == ("train", "", "val")


def test_the_box_is_a_head_unless_asked_otherwise(pets_with_our_lists):
    dataset = load_dataset(pets_with_our_lists)
    assert dataset.classes == ("head",)
    assert [[box.label for box in record.boxes] for record in dataset.records] == [["head"] * 2, ["head"], ["head"]]
    assert dataset.records[0].boxes[0].xyxy == (10, 20, 30, 40)
    assert "boxes are the heads of the animals, not their bodies" in dataset.notes


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        ("species", ("cat", "dog"), ["dog", "dog"]),
        ("breed", ("Abyssinian", "american_bulldog", "Bengal", "pug"), ["american_bulldog", "pug"]),
    ],
)
def test_species_and_breed(pets_with_our_lists, labels, classes, found):
    dataset = load_dataset(pets_with_our_lists, split="val", labels=labels)
    assert dataset.classes == classes
    assert [record.boxes[0].label for record in dataset.records] == found


def test_without_our_lists_the_boxed_images_of_trainval_are_cut(pets):
    train, val = (load_dataset(pets, split=split) for split in ("train", "val"))
    names = [record.name for record in (*train.records, *val.records)]
    assert (len(train.records), sorted(names)) == (4, sorted(NAMES[:-1]))
    assert "split 80/20 by seed 0 from the 5 boxed images of trainval.txt" in train.notes
    assert "1 image of trainval.txt without XML left out: pug_4" in train.notes


def test_the_cut_of_the_tensorflow_api(pets):
    assert choose_splits(pets, train="tf-train") == ("tf-train", "", "tf-val")
    train, val = (load_dataset(pets, split=split) for split in ("tf-train", "tf-val"))
    # Python's random.seed(42) and shuffle of the six names in the order of the list; pug_4 has no XML.
    assert [record.name for record in train.records] == ["american_bulldog_12", "Bengal_2", "Abyssinian_1", "pug_3"]
    assert [record.name for record in val.records] == ["Bengal_1"]
    assert [fault.where for fault in (*train.faults, *val.faults)] == ["pug_4"]
    assert train.notes[1] == (
        "70/30 cut of the 6 names of trainval.txt by the TensorFlow API's random.seed(42) "
        "(the official list has 3680, and its cut is another)"
    )


def test_the_parts_of_the_official_list():
    names = [f"pug_{number}" for number in range(3680)]
    cut = tensorflow_cut(names)
    assert (len(cut["tf-train"]), len(cut["tf-val"])) == (2576, 1104)
    assert sorted(cut["tf-train"] + cut["tf-val"]) == sorted(names)


def test_listed_images_without_xml_are_counted(pets):
    dataset = load_dataset(pets, split="trainval")
    assert len(dataset.records) == 5
    assert [(fault.kind, fault.where) for fault in dataset.faults] == [("missing-annotation", "pug_4")]


def test_the_official_test_split_has_no_boxes(pets):
    with pytest.raises(DataError, match='"test".*no boxes'):
        load_dataset(pets, split="test")


def test_unknown_labels_and_names_are_refused(pets, xml_file):
    with pytest.raises(ConfigError, match='mean "breed"'):
        load_dataset(pets, labels="breeds")
    xml_file(pets / "annotations" / "xmls" / "pug_3.xml", [("ferret", BOX)])
    assert len(load_dataset(pets, split="trainval").records) == 5
    with pytest.raises(DataError, match=r"pug_3\.xml: object 1.*ferret"):
        load_dataset(pets, split="trainval", labels="species")
