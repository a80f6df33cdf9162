"""The repaired copy: without the fault, with a line for it, and nothing of the source touched."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.doctor import CHECKS, examine
from smoothiou.data.doctor.repair import COLUMNS, refuse_taken, repair
from smoothiou.errors import ConfigError, DataError
from tests.data import doctor_faults as faults
from tests.data.conftest import write_xml
from tests.data.doctor_sets import TRAINING, annotate, boxes_of, coco, noise, voc

MENDED = {check.id for check in CHECKS if check.mends}


def bytes_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def fixed(root: Path, out: Path) -> list[dict[str, str]]:
    """Repair a data set, and return the lines of its log."""
    before = bytes_of(root)
    changes = repair(examine(root, training=TRAINING), out)
    assert bytes_of(root) == before, "the source was touched"
    with (out / "fixes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(changes)
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert not list(out.parent.glob(".*"))
    return rows


ALL = [(voc, *fault[:2]) for fault in faults.FAULTS] + [(coco, *fault[:2]) for fault in faults.coco_faults()]


@pytest.mark.parametrize(("make", "fault", "check"), [case for case in ALL if case[2] in MENDED], ids=faults.name_of)
def test_the_copy_has_the_fault_no_more_and_the_log_names_it(tmp_path, make, fault, check):
    root = voc(tmp_path / "voc") if make is voc else coco(tmp_path / "coco", fault)
    if make is voc:
        fault(root)
    rows = fixed(root, tmp_path / "copy")
    if check not in ("unlisted-image", "empty-split") or fault is faults.bare_split:
        assert check in {row["check"] for row in rows}, rows
    again = examine(tmp_path / "copy", training=TRAINING)
    assert not again.finding(check)
    assert again.errors == 0


def test_of_sound_data_the_copy_has_the_same_boxes_and_the_same_bytes(tmp_path):
    root = voc(tmp_path / "voc")
    assert fixed(root, tmp_path / "copy") == []
    for split in ("train", "val"):
        source, copy = load_dataset(root, split=split), load_dataset(tmp_path / "copy", split=split)
        assert copy.classes == ("cat", "dog")
        for one, other in zip(source.records, copy.records, strict=True):
            assert [(b.xyxy, b.label) for b in one.boxes] == [(b.xyxy, b.label) for b in other.boxes]
            assert one.source.path.read_bytes() == other.source.path.read_bytes()


def test_what_is_done_to_each_box(tmp_path):
    root = voc(tmp_path / "voc")
    annotate(
        root,
        "002",
        [
            ("cat", (60, 10, 30, 50)),
            ("cat", (60, 10, 103, 50)),
            ("cat", (300, 10, 340, 50)),
            ("cat", (20, 30, 20, 30)),
            ("Cat", (5, 6, 36, 37)),
            ("Cat", (5, 6, 36, 37)),
        ],
    )
    rows = fixed(root, tmp_path / "copy")
    told = {(row["check"], row["place"]): row["change"] for row in rows}
    place = "Annotations/002.xml: object"
    assert told["inverted-box", f"{place} 1"] == "corners put in order (59, 9, 30, 50 before)"
    assert told["outside-image", f"{place} 2"] == "clipped by 3 pixels (59, 9, 103, 50 before)"
    assert told["outside-image", f"{place} 3"].startswith("box removed: it lies outside its image of 100 x 80")
    assert told["point-box", f"{place} 4"] == "box removed: 19, 29, 20, 30 is a pixel at most"
    assert told["duplicate-box", f"{place} 6"] == "removed: another Cat has its corners"
    assert told["class-spelling", "Cat"] == '2 x "Cat" became "cat"'
    record = next(r for r in load_dataset(tmp_path / "copy").records if r.name.startswith("002"))
    assert [box.xyxy for box in record.boxes] == [(30, 9, 59, 50), (59, 9, 100, 50), (4, 5, 36, 37)]
    assert {box.label for box in record.boxes} == {"cat"}


def test_boxes_of_a_larger_version_are_scaled_where_only_that_makes_them_fit(tmp_path):
    root = voc(tmp_path / "voc")
    annotate(root, "002", [("cat", (101, 81, 200, 160))], size=(200, 160))
    annotate(root, "003", [("cat", (11, 11, 60, 60))], size=(200, 160))
    rows = fixed(root, tmp_path / "copy")
    assert [row["change"] for row in rows] == [
        "boxes scaled by 0.5, 0.5 from 200 x 160: only so do they fit",
        "the size 200 x 160 became 100 x 80",
    ]
    boxes = {record.name[:3]: record.boxes[0].xyxy for record in load_dataset(tmp_path / "copy").records}
    assert boxes["002"] == (50, 40, 100, 80)
    assert boxes["003"] == (10, 10, 60, 60)


@pytest.mark.parametrize("annotated_on_the_turned_picture", [True, False])
def test_a_picture_is_turned_only_if_it_was_annotated_so(tmp_path, annotated_on_the_turned_picture):
    root = voc(tmp_path / "voc")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(root / "JPEGImages" / "002.jpg", seed=2, exif=exif)
    size = (80, 100) if annotated_on_the_turned_picture else (100, 80)
    annotate(root, "002", boxes_of(0), size=size)
    fixed(root, tmp_path / "copy")
    with Image.open(tmp_path / "copy" / "images" / "train" / "002.jpg") as image:
        assert image.size == size
        assert not image.getexif().get(0x0112)
    assert not examine(tmp_path / "copy", training=TRAINING).finding("exif-rotation")


def test_a_photo_in_two_splits_stays_where_it_is_measured(tmp_path):
    root = voc(tmp_path / "voc", counts=(("train", 6), ("val", 3), ("test", 2)))
    pixels = (root / "JPEGImages" / "002.jpg").read_bytes()
    for name in ("007", "010"):
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(pixels)
    rows = fixed(root, tmp_path / "copy")
    assert [(row["split"], row["image"]) for row in rows] == [("train", "002"), ("val", "007")]
    names = [r.name for r in load_dataset(tmp_path / "copy", split="test").records]
    assert names == ["009.jpg", "010.jpg"]


def test_a_split_whose_name_holds_other_signs_is_read_again(tmp_path):
    root = voc(tmp_path / "voc", counts=(("train", 4), ("val", 2), ("my-test.2", 2)))
    fixed(root, tmp_path / "copy")
    again = examine(tmp_path / "copy", training=TRAINING)
    assert again.errors == 0
    assert sum(map(len, again.survey.splits.values())) == 8


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    root = voc(tmp_path / "voc")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="empty folder"):
        repair(examine(root, training=TRAINING), tmp_path / "copy")
    with pytest.raises(ConfigError, match="empty folder"):
        repair(examine(root, training=TRAINING), root)
    with pytest.raises(ConfigError, match="lies in"):
        refuse_taken(root / "fixed", data=f"{root}+shapes")
    assert bytes_of(tmp_path / "copy").keys() == {"mine.txt"}
    (tmp_path / "copy" / "mine.txt").unlink()
    repair(examine(root, training=TRAINING), tmp_path / "copy")
    assert load_dataset(tmp_path / "copy").records


def test_where_nothing_is_left_nothing_is_written(tmp_path):
    root = voc(tmp_path / "voc")
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image"):
        repair(examine(root, training=TRAINING), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_interrupted_copy_leaves_nothing(tmp_path):
    root = voc(tmp_path / "voc")

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(examine(root, training=TRAINING), tmp_path / "copy", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


def test_two_images_of_one_name_get_two(tmp_path):
    one = tmp_path / "data"
    for number, suffix in enumerate((".jpg", ".png")):
        noise(one / "images" / f"a{suffix}", seed=number)
    noise(one / "images" / "b.jpg", seed=3)
    content = {
        "images": [
            {"id": n, "file_name": name, "width": 100, "height": 80}
            for n, name in enumerate(("a.jpg", "a.png", "b.jpg"))
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [10 + n, 10, 32, 32], "iscrowd": 0} for n in range(3)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }  # fmt: skip
    noise(one / "images" / "a.png", seed=1, kind="JPEG")  # JPEG data: the copy would be called a.jpg, too
    (one / "train.json").write_text(json.dumps(content))
    fixed(one, tmp_path / "copy")
    records = {r.name: r.boxes[0].xyxy[0] for r in load_dataset(tmp_path / "copy").records}
    assert records == {"a.jpg": 10, "a-2.jpg": 11, "b.jpg": 12}


def test_objects_of_xml_stay_difficult_in_the_copy(tmp_path):
    root = voc(tmp_path / "voc")
    extra = (
        "<object><name>dog</name><difficult>1</difficult><bndbox><xmin>50</xmin><ymin>40</ymin><xmax>90</xmax>"
        "<ymax>70</ymax></bndbox></object>"
    )
    write_xml(root / "Annotations" / "002.xml", boxes_of(2), file_name="002.jpg", extra=extra)
    fixed(root, tmp_path / "copy")
    record = next(r for r in load_dataset(tmp_path / "copy").records if r.name == "002.jpg")
    assert [box.ignored for box in record.boxes] == [False, False, True]
