"""Which photo an XML file is of: the named one, never one that happens to be called so."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from smoothiou.data import load_dataset
from smoothiou.errors import DataError
from tests.data.folders import ONE, names, photos_of, split_of, two_folders


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ".pjpeg", ".dib", ".pnm", ".img", ""])
def test_an_image_may_have_a_rare_ending(make_voc, ending):
    root = make_voc({"train": {"a": ONE}})
    image = root / "JPEGImages" / "a.jpg"
    image.rename(image.with_suffix(ending))
    assert names(root) == ["a"]


def test_an_image_of_no_known_type_is_named_instead_of_missing(make_voc):
    root = make_voc({"train": {"a": ONE}})
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"a\.heic"):
        load_dataset(root)


def test_masks_of_a_split_never_stand_in_for_a_missing_photo(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    split_of(root, xml_file, image_file, "", xml="annotations/train", images="images", count=3)
    for number in range(3):
        image_file(root / "masks/train" / f"{number}.png")
    (root / "images/0.jpg").unlink()
    with pytest.raises(DataError, match="missing: 0"):
        load_dataset(root)


def test_splits_of_xml_may_share_one_folder_of_photos(tmp_path, xml_file, image_file):
    for split in ("train", "test"):
        split_of(tmp_path / "set", xml_file, image_file, "", xml=f"annotations/{split}", images="photos", name=split)
    assert photos_of(tmp_path / "set") == ["photos/train0.jpg", "photos/train1.jpg"]


def test_a_photo_of_the_named_ending_goes_before_others(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    split_of(root, xml_file, image_file, "", count=5)
    for number in range(5):
        image_file(root / "images" / f"{number}.png")
    assert {PurePath(photo).parent.as_posix() for photo in photos_of(root)} == {"."}


def test_a_photo_in_the_named_folder_goes_before_others(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for number in range(5):
        xml_file(root / "annotations" / f"{number}.xml", ONE, file_name=f"s/{number}.jpg")
        for folder in ("images", "images/s"):
            image_file(root / folder / f"{number}.jpg")
    assert {PurePath(photo).parent.as_posix() for photo in photos_of(root)} == {"images/s"}


def test_a_photo_outside_its_folder_never_stands_in(make_voc, image_file):
    root = make_voc({"train": {"t/a": ONE, "t/b": ONE}, "val": {"v": ONE}})
    (root / "JPEGImages/t/a.jpg").rename(root / "JPEGImages/a.jpg")
    with pytest.raises(DataError, match="missing"):
        load_dataset(root)


def test_copies_stay_on_one_side_of_a_cut_whatever_their_xml_is_called(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for number in range(10):
        xml_file(root / "annots" / f"x{number}.xml", ONE, file_name=f"{number}.jpg")
        image_file(root / "images/0.jpg")
        (root / "images" / f"{number}.jpg").write_bytes((root / "images/0.jpg").read_bytes())
    with pytest.raises(DataError):  # all in one part: none is left to test on
        load_dataset(root, split="val")


def test_the_name_of_a_photo_may_have_its_folder(tmp_path, xml_file, image_file):
    for number in range(5):
        image_file(tmp_path / "set/images/s" / f"{number}.jpg")
        xml_file(tmp_path / "set/annots" / f"{number}.xml", ONE, file_name=f"s/{number}.jpg")
    assert len(names(tmp_path / "set")) == 4


def test_a_photo_that_its_xml_names_is_not_left_out_whatever_the_xml_is_called(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annots", images="images")
    (root / "annots/0.xml").rename(root / "annots/other.xml")
    assert len(names(root)) == 4
    assert not [note for note in load_dataset(root).notes if "left out" in note]


def test_of_several_folders_of_images_that_with_the_named_ones_is_taken(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="boxes", images="photos")
    for number in range(5):
        image_file(root / "masks" / f"{number}.png")
    assert {r.source.path.parent.name for r in load_dataset(root).records} == {"photos"}


def test_masks_never_stand_in_for_a_missing_photo(make_voc, image_file):
    root = make_voc({"train": {"a": ONE}})
    (root / "JPEGImages" / "a.jpg").unlink()
    image_file(root / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match="missing"):
        load_dataset(root)


@pytest.mark.parametrize("images", ["{}", "{}/images", "images/{}", "photos/{}"])
def test_equal_names_in_two_splits_are_photos_of_their_own_split(tmp_path, xml_file, image_file, images):
    for split in ("train", "test"):
        for number in range(3):
            name = f"{number}.jpg"
            image_file(tmp_path / "set" / images.format(split) / name)
            xml_file(tmp_path / "set/annotations" / split / f"{number}.xml", ONE, file_name=name)
    for split in ("train", "test"):
        folder = tmp_path / "set" / images.format(split)
        assert {r.source.path.parent for r in load_dataset(tmp_path / "set", split=split).records} == {folder}


def test_photos_of_another_split_never_stand_in_for_missing_ones(tmp_path, xml_file, image_file):
    image_file(tmp_path / "set/train/0.jpg")
    for split in ("train", "test"):
        xml_file(tmp_path / "set/annotations" / split / "0.xml", ONE, file_name="0.jpg")
    assert len(names(tmp_path / "set")) == 1
    with pytest.raises(DataError, match="missing"):
        load_dataset(tmp_path / "set", split="test")


def test_a_photo_that_could_be_either_of_two_is_refused_with_both(tmp_path, xml_file, image_file):
    for folder in ("day", "night"):
        image_file(tmp_path / "set" / folder / "0.jpg")
    xml_file(tmp_path / "set/boxes/0.xml", ONE, file_name="0.jpg")
    with pytest.raises(DataError, match=r"0\.xml.*day/0\.jpg or night/0\.jpg"):
        load_dataset(tmp_path / "set")
