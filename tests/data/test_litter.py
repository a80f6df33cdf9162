"""What macOS and Windows leave beside files is no data."""

from __future__ import annotations

import json

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from tests.data.doctor_sets import TRAINING
from tests.data.folders import BOX, ONE, two_folders

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


def check_unchanged(root, split="train"):
    before = [(r.name, r.boxes) for r in load_dataset(root, split=split).records]
    litter(root)
    assert [(r.name, r.boxes) for r in load_dataset(root, split=split).records] == before
    report = examine(root, training=TRAINING)
    ids = {finding.check.id for finding in report.findings}
    assert not ids & {"unreadable-annotation", "unreadable-image", "missing-image", "unlisted-image", "wrong-ending"}


def test_what_systems_leave_is_no_data_in_voc(make_voc, tmp_path, xml_file, image_file):
    check_unchanged(make_voc({"train": {"a": ONE, "b": ONE}, "val": {"c": ONE}}))
    check_unchanged(two_folders(tmp_path / "flat", xml_file, image_file, xml="annots", images="images"))
    check_unchanged(two_folders(tmp_path / "beside", xml_file, image_file, xml=".", images="."))


def test_what_systems_leave_is_no_data_in_coco(make_coco, coco_dict, tmp_path, image_file):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    check_unchanged(make_coco(content, coco_dict({"b.jpg": [("cat", BOX)]}, ["cat"])))
    for split in ("train", "valid"):
        image_file(tmp_path / "rf" / split / "a.jpg")
        (tmp_path / "rf" / split / "_annotations.coco.json").write_text(json.dumps(content))
    check_unchanged(tmp_path / "rf")


def test_what_systems_leave_is_no_data_in_tables(tmp_path, image_file):
    root = tmp_path / "csv"
    for name in ("a.jpg", "b.jpg"):
        image_file(root / "images" / name)
    (root / "labels_train.csv").write_text("1,2,30,40,a.jpg,Car\n1,2,30,40,b.jpg,Car\n")
    check_unchanged(root)
