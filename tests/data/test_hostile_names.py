"""Names and links that lead away, steer a terminal, or are of no file."""

from __future__ import annotations

import contextlib
import json
import os

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.image_finder import check_file_name
from smoothiou.data.records import Dataset, Record
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.errors import DataError
from smoothiou.files import printable

BAD_NAMES = ["../../etc/passwd", "/etc/passwd", "..\\a.jpg", "C:\\a.jpg", "\\\\host\\a.jpg", "a\0.jpg", "a/../../b.jpg"]
BAD_NAMES += ["", "\x1b[2J.jpg", "a\nb.jpg", "x" * 300 + ".jpg", "é" * 200 + ".jpg", "half\ud800.jpg"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_image_names_that_lead_away_or_steer_are_refused_in_every_format(tmp_path, name, coco_dict):
    with pytest.raises(DataError):
        check_file_name(name, where="here")
    content = coco_dict({"a.jpg": [("dog", (1, 2, 3, 4))]}, ["dog"])
    content["images"][0]["file_name"] = name
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"images\[0\]") as caught:
        load_dataset(tmp_path)
    assert printable(str(caught.value))
    if "\n" not in name and "\ud800" not in name:
        (tmp_path / "labels.csv").write_text(f"1,2,3,4,{name},car,x\n")
        with pytest.raises(DataError, match=r"labels.csv, line 1"):
            load_dataset(tmp_path / "labels.csv")


def test_a_path_that_is_too_long_for_the_system_is_a_missing_image(tmp_path, coco_dict):
    content = coco_dict({"a/" * 2500 + "a.jpg": [("dog", (1, 2, 3, 4))]}, ["dog"])
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="missing"):
        load_dataset(tmp_path)
    for way_in in (detect_format, list_splits, load_dataset):
        with pytest.raises(DataError):
            way_in("x" * 5000)


@pytest.mark.parametrize("kind", ["xml", "list", "image", "images", "folder"])
def test_what_a_voc_folder_links_to_must_lie_in_it(tmp_path, make_voc, kind):
    root = make_voc({"train": {"a": [("dog", (1, 1, 9, 9))]}})
    moved = {
        "xml": "Annotations/a.xml",
        "list": "ImageSets/Main/train.txt",
        "image": "JPEGImages/a.jpg",
        "images": "JPEGImages",
        "folder": "Annotations",
    }[kind]
    (root / moved).rename(tmp_path / "away")
    (root / moved).symlink_to(tmp_path / "away")
    with pytest.raises(DataError, match="link .*away.*follow_links true"):
        load_dataset(root)
    assert len(load_dataset(root, follow_links=True).records) == 1
    (tmp_path / "linked").symlink_to(root)
    (root / moved).unlink()
    (tmp_path / "away").rename(root / moved)
    assert len(load_dataset(tmp_path / "linked").records) == 1


def test_annotation_files_of_coco_and_udacity_that_are_links_out_are_refused(tmp_path, make_coco, coco_dict):
    root = make_coco(coco_dict({"a.jpg": [("dog", (1, 2, 3, 4))]}, ["dog"]))
    file = root / "annotations" / "instances_train.json"
    file.rename(tmp_path / "away.json")
    file.symlink_to(tmp_path / "away.json")
    (tmp_path / "csv").mkdir()
    (tmp_path / "away.csv").write_text("1,2,3,4,a.jpg,car,x\n")
    (tmp_path / "csv" / "labels.csv").symlink_to(tmp_path / "away.csv")
    for folder in (root, tmp_path / "csv"):
        with pytest.raises(DataError, match="link"):
            load_dataset(folder)


@pytest.mark.parametrize("name", ["train.json", "ImageSets/Main/train.txt", "labels.csv", "a.xml"])
@pytest.mark.parametrize("what", ["pipe", "folder", "nowhere", "loop", "device"])
def test_annotation_files_that_are_no_files_never_hang(tmp_path, make_voc, name, what):
    root = make_voc({"train": {"a": [("dog", (1, 1, 9, 9))]}}) if "Main" in name else tmp_path
    (root / name).unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(root / name)
    elif what == "folder":
        (root / name).mkdir()
    else:
        (root / name).symlink_to({"nowhere": "gone", "loop": (root / name).name, "device": "/dev/zero"}[what])
    # `voc` takes a folder of VOC's lists as one without lists where they cannot be read, and says what it lacks.
    with pytest.raises(DataError, match=rf"{root.name}|{name}"):
        load_dataset(root)
    for way_in in (detect_format, list_splits):
        with contextlib.suppress(DataError):
            way_in(root)


def test_names_of_files_that_steer_or_are_no_utf_8_are_refused(tmp_path, image_file, xml_file):
    for number, name in enumerate((b"\x1b[31m", b"caf\xe9", b"two\nlines")):
        root = tmp_path / str(number)
        for letter in "ab":
            image_file(root / f"{letter}.png")
            xml_file(root / f"{letter}.xml", [("dog", (1, 1, 9, 9))])
            os.rename(root / f"{letter}.xml", os.fsencode(root / letter) + name + b".xml")
            os.rename(root / f"{letter}.png", os.fsencode(root / letter) + name + b".png")
        with pytest.raises(DataError, match="image") as caught:
            load_dataset(root)
        assert printable(str(caught.value))


def test_no_data_set_can_be_made_whose_names_steer_a_terminal():
    record = Record(name="\x1b[2J", source=None, width=1, height=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="image"):
        Dataset(name="d", format="voc", split="train", classes=("a",), records=(record,))
    with pytest.raises(DataError, match="class"):
        Dataset(name="d", format="voc", split="train", classes=("a\nb",), records=())
