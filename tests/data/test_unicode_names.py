"""Names and classes in two forms of Unicode are one."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from tests.data.conftest import save_image
from tests.data.doctor_sets import TRAINING, coco
from tests.data.folders import BOX, ONE, records, yolo

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9\u00fc") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("written", "stored"), [(NFC, NFD), (NFD, NFC)])
def test_names_are_found_in_the_other_form_of_unicode(tmp_path, make_coco, coco_dict, make_voc, written, stored):
    content = coco_dict({f"{written}/{written}.jpg": [("cat", BOX)]}, ["cat"])
    root = make_coco(content)
    home = root / "images" / "train"
    os.rename(home / written, home / stored)
    os.rename(home / stored / f"{written}.jpg", home / stored / f"{stored}.jpg")
    assert list(records(root)) == [f"{written}/{written}.jpg"]
    root = make_voc({"train": {written: ONE}})
    for file in (root / "JPEGImages" / f"{written}.jpg", root / "Annotations" / f"{written}.xml"):
        file.rename(file.with_stem(stored))
    assert list(records(root)) == [written]
    root = tmp_path / "yolo"
    save_image(root / "images" / f"{stored}.jpg")
    (root / "labels").mkdir()
    (root / "labels" / f"{written}.txt").write_text("0 .5 .5 .2 .2\n")
    for name in ("train", "val"):
        (root / f"{written}-{name}.txt").write_text(f"images/{written}.jpg\n")
    (root / "data.yaml").write_text(f"train: {stored}-train.txt\nval: {stored}-val.txt\nnames: [cat]\n")
    assert [len(record.boxes) for record in records(root).values()] == [1]


def test_a_class_in_two_forms_of_unicode_is_one(tmp_path):
    root = coco(tmp_path / "coco")
    for split, form in (("train", NFD), ("val", NFC)):
        file = root / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["categories"][0]["name"] = form
        file.write_text(json.dumps(content))
    train, val = (load_dataset(root, split=split) for split in ("train", "val"))
    assert NFC in train.classes
    assert train.classes == val.classes
    assert NFC in train.counts()["per_class"]


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
