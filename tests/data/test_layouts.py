"""Layouts in the wild: folders of any name, images of any ending, links, and what systems leave beside the files."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import PurePath

import pytest

from smoothiou.data import detect_format, list_splits, load_dataset
from smoothiou.data.doctor import examine
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING, coco

ONE = [("dog", (11, 21, 30, 40))]
BOX = (1, 1, 20, 20)


def names(root, split="train"):
    return sorted(record.name for record in load_dataset(root, split=split).records)


# ---- 9. layouts


def test_names_of_a_list_may_have_folders(make_voc):
    root = make_voc({"train": {"s/f0": ONE, "t/f0": ONE, "f0": ONE}})
    assert names(root) == ["f0", "s/f0", "t/f0"]
    parents = {record.name: record.source.path.parent.name for record in load_dataset(root).records}
    assert parents == {"f0": "JPEGImages", "s/f0": "s", "t/f0": "t"}
    assert examine(root, training=TRAINING).finding("missing-image") is None


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


def two_folders(root, xml_file, image_file, *, xml: str, images: str, count: int = 5):
    for number in range(count):
        image_file(root / images / f"{number}.jpg")
        xml_file(root / xml / f"{number}.xml", ONE, file_name=f"{number}.jpg")
    return root


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


def photos_of(root, split="train"):
    return sorted(record.source.path.relative_to(root).as_posix() for record in load_dataset(root, split=split).records)


def split_of(root, xml_file, image_file, folder, *, xml="", images="", count=2, name=""):
    """Write some photos with their XML into two folders, by default the same."""
    for number in range(count):
        image_file(root / folder / images / f"{name}{number}.jpg")
        xml_file(root / folder / xml / f"{name}{number}.xml", ONE, file_name=f"{name}{number}.jpg")


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


def test_copies_stay_on_one_side_of_a_cut_whatever_their_xml_is_called(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for number in range(10):
        xml_file(root / "annots" / f"x{number}.xml", ONE, file_name=f"{number}.jpg")
        image_file(root / "images/0.jpg")
        (root / "images" / f"{number}.jpg").write_bytes((root / "images/0.jpg").read_bytes())
    with pytest.raises(DataError):  # all in one part: none is left to test on
        load_dataset(root, split="val")


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


def test_the_name_of_a_photo_may_have_its_folder(tmp_path, xml_file, image_file):
    for number in range(5):
        image_file(tmp_path / "set/images/s" / f"{number}.jpg")
        xml_file(tmp_path / "set/annots" / f"{number}.xml", ONE, file_name=f"s/{number}.jpg")
    assert len(names(tmp_path / "set")) == 4


def test_several_pairs_of_folders_are_refused_with_what_can_be_done(tmp_path, xml_file, image_file):
    root = tmp_path / "set"
    for xml, images in (("train_annots", "train_images"), ("test_annots", "test_images")):
        two_folders(root, xml_file, image_file, xml=xml, images=images)
    with pytest.raises(DataError) as refused:
        load_dataset(root)
    assert "train/annotations" in refused.value.hint


def test_an_xml_file_that_is_none_is_named(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annots", images="images")
    (root / "annots/z.xml").symlink_to("nothing.xml")
    with pytest.raises(DataError, match=r"z\.xml"):
        load_dataset(root)
    assert "annots/z.xml" in [
        e.where for e in examine(root, training=TRAINING).finding("unreadable-annotation").examples
    ]


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


def yolo(root, image_file, *, name="a", label="a"):
    image_file(root / "images/train" / f"{name}.jpg")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train" / f"{label}.txt").write_text("0 0.5 0.5 0.4 0.3\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cat]\n")
    return root


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_image_label_and_folder_of_yolo_may_be_in_different_forms_of_unicode(tmp_path, image_file, forms):
    of_image, of_label = (unicodedata.normalize(form, "dosé") for form in forms)
    root = tmp_path / "set"
    yolo(root, image_file, name=of_image, label=of_label)
    for part, name in (("images", of_image), ("labels", of_label)):
        (root / part / "train").rename(root / part / name)
    (root / "data.yaml").write_text(f"train: images/{of_label}\nval: images/{of_label}\nnames: [cat]\n")
    (record,) = load_dataset(root).records
    assert len(record.boxes) == 1
    assert examine(root, training=TRAINING).finding("missing-image") is None


@pytest.mark.parametrize(
    "content", ["<project/>", "<annotations><version>1.1</version></annotations>", "<project><unfinished>", ""]
)
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("coco", "project.xml"),
        ("coco", "annotations/annotations.xml"),
        ("yolo", "project.xml"),
        ("yolo", "labels/a.xml"),
        ("voc", "project.xml"),
    ],
)
def test_xml_of_something_else_leaves_a_data_set_readable(tmp_path, xml_file, image_file, kind, place, content):
    root = tmp_path / "set"
    if kind == "voc":
        two_folders(root, xml_file, image_file, xml="annotations", images="images")
    elif kind == "coco":
        coco(root)
    else:
        yolo(root, image_file)
    before = names(root)
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text(content)
    assert (detect_format(root), names(root)) == (kind, before)


def test_xml_of_something_else_among_annotations_is_named(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annotations", images="images")
    (root / "annotations/0.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match=r"annotations/0\.xml.*root"):
        load_dataset(root)


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


# ---- 10. companions

LEFT = ("._{}", ".{}", ".DS_Store", "Thumbs.db", "desktop.ini")


def litter(root):
    """Leave beside every file, and in every folder, what macOS and Windows do."""
    for path in [path for path in root.rglob("*") if path.is_file()]:
        for pattern in LEFT:
            (path.parent / pattern.format(path.name)).write_bytes(b"\0\5\x16\7 no data")
    for path in list(root.rglob("*.jpg")):
        hidden = root / "__MACOSX" / path.relative_to(root)
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "a.xml").write_text("<annotation>")
        (root / folder / "train.json").write_text("{")


def compare(root, split="train"):
    before = [(r.name, r.boxes) for r in load_dataset(root, split=split).records]
    litter(root)
    assert [(r.name, r.boxes) for r in load_dataset(root, split=split).records] == before
    report = examine(root, training=TRAINING)
    ids = {finding.check.id for finding in report.findings}
    assert not ids & {"unreadable-annotation", "unreadable-image", "missing-image", "unlisted-image", "wrong-ending"}


def test_what_systems_leave_is_no_data_in_voc(make_voc, tmp_path, xml_file, image_file):
    compare(make_voc({"train": {"a": ONE, "b": ONE}, "val": {"c": ONE}}))
    compare(two_folders(tmp_path / "flat", xml_file, image_file, xml="annots", images="images"))
    compare(two_folders(tmp_path / "beside", xml_file, image_file, xml=".", images="."))


def test_what_systems_leave_is_no_data_in_coco(make_coco, coco_dict, tmp_path, image_file):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    compare(make_coco(content, coco_dict({"b.jpg": [("cat", BOX)]}, ["cat"])))
    for split in ("train", "valid"):
        image_file(tmp_path / "rf" / split / "a.jpg")
        (tmp_path / "rf" / split / "_annotations.coco.json").write_text(json.dumps(content))
    compare(tmp_path / "rf")


def test_what_systems_leave_is_no_data_in_tables(tmp_path, image_file):
    root = tmp_path / "csv"
    for name in ("a.jpg", "b.jpg"):
        image_file(root / "images" / name)
    (root / "labels_train.csv").write_text("1,2,30,40,a.jpg,Car\n1,2,30,40,b.jpg,Car\n")
    compare(root)
