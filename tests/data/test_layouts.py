"""Layouts in the wild: folders of any name, lists, splits, links."""

from __future__ import annotations

import shutil

import pytest

from smoothiou.data import detect_format, list_splits, load_dataset
from smoothiou.data.doctor import examine
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING
from tests.data.folders import ONE, names, photos_of, split_of, two_folders


def test_names_of_a_list_may_have_folders(make_voc):
    root = make_voc({"train": {"s/f0": ONE, "t/f0": ONE, "f0": ONE}})
    assert names(root) == ["f0", "s/f0", "t/f0"]
    parents = {record.name: record.source.path.parent.name for record in load_dataset(root).records}
    assert parents == {"f0": "JPEGImages", "s/f0": "s", "t/f0": "t"}
    assert examine(root, training=TRAINING).finding("missing-image") is None


@pytest.mark.parametrize(
    ("xml", "images"),
    [("annots", "images"), ("boxes", "photos"), ("Annotations", "pics"), ("labels/xml", "images"), ("a/b", "images")],
)
def test_two_folders_of_any_names_are_a_data_set(tmp_path, xml_file, image_file, xml, images):
    if xml == "a/b":  # annotations deeper down have folders of a usual name above them
        xml = "annotations/b"
    root = two_folders(tmp_path / "set", xml_file, image_file, xml=xml, images=images)
    assert detect_format(root) == "voc"
    assert len(names(root)) == 4
    assert len(names(root, "val")) == 1


def test_another_data_set_in_a_folder_is_not_read_in_place_of_ones_own(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annotations", images="images", count=10)
    split_of(root, xml_file, image_file, "old/train", name="x")
    data = load_dataset(root)
    assert len(data.records) == 8
    assert any("old/train/x0.xml" in note for note in data.notes)


def test_splits_in_a_folder_of_predictions_are_none(tmp_path, xml_file, image_file):
    for split in ("train", "val"):
        split_of(tmp_path / "set", xml_file, image_file, "", xml=f"annotations/{split}", images=f"images/{split}")
    split_of(tmp_path / "set", xml_file, image_file, "predictions/test")
    assert list_splits(tmp_path / "set") == ("train", "val")


def test_of_two_data_sets_in_one_folder_neither_is_taken(tmp_path, xml_file, image_file):
    for kit in ("day", "night"):
        for split in ("train", "test"):
            split_of(tmp_path / "kit", xml_file, image_file, f"{kit}/{split}")
    with pytest.raises(DataError, match="data set"):
        load_dataset(tmp_path / "kit")


def test_xml_in_no_split_is_noted(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for split in ("train", "test"):
        split_of(root, xml_file, image_file, split)
    split_of(root, xml_file, image_file, "train/night", name="n")
    assert any("train/night/n0.xml" in note for note in load_dataset(root).notes)


def test_a_split_of_broken_xml_alone_is_named(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for split in ("train", "val", "test"):
        split_of(root, xml_file, image_file, split)
    for file in (root / "test").glob("*.xml"):
        file.write_text("")
    with pytest.raises(DataError, match=r"test/0\.xml"):
        load_dataset(root, split="test")


@pytest.mark.parametrize("lists", ["ImageSets/Main", "ImageSets/main", "ImageSets"])
def test_lists_may_lie_in_imagesets_itself(make_voc, lists):
    root = make_voc({"train": {"a": ONE}, "test": {"b": ONE}})
    moved = root / "moved"
    (root / "ImageSets/Main").rename(moved)
    shutil.rmtree(root / "ImageSets")
    (root / lists).parent.mkdir(parents=True, exist_ok=True)
    moved.rename(root / lists)
    assert photos_of(root, "test") == ["JPEGImages/b.jpg"]


def test_links_to_folders_of_xml_are_followed_inside_the_data_folder(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    two_folders(root, xml_file, image_file, xml="store/c", images="images")
    (root / "annotations").mkdir()
    (root / "annotations/c").symlink_to("../store/c")
    assert len(names(root)) == 4


def test_several_pairs_of_folders_are_refused_with_what_can_be_done(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for xml, images in (("train_annots", "train_images"), ("test_annots", "test_images")):
        two_folders(root, xml_file, image_file, xml=xml, images=images)
    with pytest.raises(DataError) as refused:
        load_dataset(root)
    assert "train/annotations" in refused.value.hint


@pytest.mark.parametrize(
    ("xml", "images"),
    [
        ("{}/annots", "{}/images"),
        ("annotations/{}", "images/{}"),
        ("Annotations/{}", "imgs/{}"),
        ("boxes/{}", "photos/{}"),
    ],
)
def test_splits_may_be_folders_above_or_below_those_of_images_and_xml(tmp_path, xml_file, image_file, xml, images):
    for split in ("train", "valid"):
        two_folders(tmp_path / "set", xml_file, image_file, xml=xml.format(split), images=images.format(split), count=2)
    assert list_splits(tmp_path / "set") == ("train", "valid")
    train, val = (load_dataset(tmp_path / "set", split=split).records for split in ("train", "val"))
    assert {r.source.path for r in train}.isdisjoint(r.source.path for r in val)


def test_a_data_set_above_which_one_stands_is_still_pointed_to(tmp_path, xml_file, image_file):
    for name in ("one", "two"):
        two_folders(tmp_path / "kit" / name, xml_file, image_file, xml="annots", images="images")
    with pytest.raises(DataError, match="one"):
        detect_format(tmp_path / "kit")


def test_links_inside_the_data_folder_are_followed_and_broken_ones_named(make_voc, tmp_path):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    shutil.move(root / "JPEGImages", root / "store")
    (root / "JPEGImages").symlink_to("store")
    shutil.move(root / "Annotations", root / "xmlstore")
    (root / "Annotations").symlink_to("xmlstore")
    (tmp_path / "link").symlink_to(root)
    assert names(tmp_path / "link") == ["a", "b"]
    (root / "loop").symlink_to(root)
    assert names(root) == ["a", "b"]
    (root / "store" / "a.jpg").unlink()
    (root / "store" / "a.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(DataError, match=r"a\.jpg"):
        load_dataset(root)
