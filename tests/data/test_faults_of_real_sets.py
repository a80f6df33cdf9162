"""Every fault that was found in published data sets, on tiny files made here, and in the sets themselves.

| fault | found in | what happens | here, and with more cases in |
|---|---|---|---|
| header of a CSV in another order than its numbers | udacity | noted | `test_wrong_header`; `test_udacity_file` |
| no header | udacity autti | first row is a box | `test_no_header`; `test_udacity_file` |
| box without height | udacity crowdai | refused, dropped when allowed | `test_box_without_height`; `test_udacity` |
| box of one pixel, by inclusive corners | bccd | kept | `test_box_of_one_pixel`; `test_voc` |
| box past the edge by a fraction | car_damage | clipped, counted | `test_past_the_edge`; `test_faults` |
| box far past the edge | none | refused | `test_past_the_edge`; `test_faults` |
| box past the edge by a few pixels | udacity autti | clipped, counted | `test_real_data` |
| XML without image | road_signs | refused, with names | `test_xml_without_image`; `test_voc` |
| image without XML | oxford_pets | left out, counted, named | `test_image_without_xml`; `test_pets` |
| all images of a split without XML | oxford_pets test | refused | `test_pets`, `test_voc` |
| GIF, PNG, WebP, RGBA under another ending | pets, road_signs | read as RGB | `test_other_ending`; `test_images` |
| images of 2007 in the folder of VOC 2012 | VOC 2012 | only lists are read | `test_images_of_2007`; `test_voc` |
| one photo in two splits | car_damage | warned, with names | `test_same_photo`; `test_leaks` |
| image without boxes | coco_mini, car_damage | kept, counted | `test_image_without_boxes`; `test_coco_reader` |
| crowd box | coco_mini | no target, ignored | `test_crowd`; `test_coco_reader` |
| nested boxes of parts | voc2007 | not read | `test_parts`; `test_voc` |
| empty category, ids from 0 or with gaps | car_damage, coco_mini | noted | `test_categories`; `test_coco_reader` |
| XML and its published JSON disagree | none | equal box by box | `test_real_data` |
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.formats.udacity_table import read_labels
from smoothiou.data.images import image_size
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_splits
from smoothiou.errors import DataError

ONE = [("dog", (11, 21, 30, 40))]


def test_the_table_above_names_tests_that_exist():
    folder = Path(__file__).parent
    rows = [line for line in (__doc__ or "").splitlines() if line.startswith("| ") and "found in" not in line]
    assert len(rows) == 18
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names, row
        assert all(name in globals() or (folder / f"{name}.py").is_file() for name in names), row


# --- CSV ------------------------------------------------------------------------------------------------------------


def drive(root, image_file, rows, *, header=""):
    for frame in ("a.jpg", "b.jpg"):
        image_file(root / "images" / frame)
    (root / "labels_train.csv").write_text(header + rows)
    return root


def test_wrong_header(tmp_path, image_file):
    # The columns are xmin, ymin, xmax, ymax; read by this header, the first box would have its right side at 21.
    rows = "11,21,30,40,a.jpg,Car,\n50,10,70,60,b.jpg,Truck,\n"
    root = drive(tmp_path, image_file, rows, header="xmin,xmax,ymin,ymax,Frame,Label,Preview URL\n")
    dataset = load_dataset(root)
    assert [box.xyxy for record in dataset.records for box in record.boxes] == [(11, 21, 30, 40), (50, 10, 70, 60)]
    assert any("not in the header's xmin,xmax,ymin,ymax" in note for note in dataset.notes)


def test_no_header(tmp_path, image_file):
    root = drive(tmp_path, image_file, 'a.jpg 11 21 30 40 0 "car"\nb.jpg 50 10 70 60 0 "trafficLight" "Red"\n')
    found = [(box.label, box.xyxy) for record in load_dataset(root).records for box in record.boxes]
    assert found == [("car", (11, 21, 30, 40)), ("trafficLight", (50, 10, 70, 60))]


def test_box_without_height(tmp_path, image_file):
    root = drive(tmp_path, image_file, 'a.jpg 11 21 30 40 0 "car"\nb.jpg 50 0 70 0 0 "car"\n')
    with pytest.raises(DataError, match=r"1 box .*labels_train\.csv, line 2"):
        load_dataset(root)
    dataset = load_dataset(root, allow_dropped=1)
    assert dataset.counts()["faults"] == {"no-area": 1}
    assert [len(record.boxes) for record in dataset.records] == [1, 0]


@pytest.mark.slow
def test_the_named_rows_of_udacity_have_their_faults(shared_data):
    crowdai = read_labels(shared_data / "udacity" / "labels_crowdai.csv.gz").boxes
    for frame in ("1479498820473341507.jpg", "1479499937073018706.jpg", "1479505030914958665.jpg"):
        assert any(box.xyxy[1] == box.xyxy[3] for box in crowdai[frame]), frame
    autti = read_labels(shared_data / "udacity" / "labels_autti.csv.gz").boxes
    assert max(box.xyxy[2] for box in autti["1478897138029169863.jpg"]) > 1920


# --- VOC and pets ---------------------------------------------------------------------------------------------------


def test_box_of_one_pixel(make_voc):
    (record,) = load_dataset(make_voc({"train": {"a": [("RBC", (50, 33, 50, 33))]}})).records
    assert record.boxes[0].xyxy == (49, 32, 50, 33)


def test_xml_without_image(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match="missing: b "):
        load_dataset(root)


def test_the_named_xml_of_road_signs_lack_their_images(shared_data):
    names = [f"road{number}" for number in (525, 526, 529, 530, 531, 600)]
    root = shared_data / "road_signs"
    images = {path.stem for path in (root / "images").iterdir()}
    assert sorted({path.stem for path in (root / "annotations").glob("*.xml")} - images) == names
    with pytest.raises(DataError, match="6 .*missing"):
        load_dataset(root, format="voc")


def test_image_without_xml(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    (root / "Annotations" / "b.xml").unlink()
    dataset = load_dataset(root)
    assert [record.name for record in dataset.records] == ["a"]
    assert [(fault.kind, fault.where) for fault in dataset.faults] == [("missing-annotation", "b")]


def test_images_of_2007(make_voc, image_file, xml_file):
    root = make_voc({"train": {"2008_000001": ONE}, "val": {"2008_000002": ONE}}, name="VOC2012")
    image_file(root / "JPEGImages" / "2007_000027.jpg")
    xml_file(root / "Annotations" / "2007_000027.xml", ONE)
    names = [record.name for split in ("train", "val") for record in load_dataset(root, split=split).records]
    assert names == ["2008_000001", "2008_000002"]


def test_parts(make_voc, xml_file):
    root = make_voc({"train": {"a": ONE}})
    corners = "<xmin>{}</xmin><ymin>2</ymin><xmax>9.5</xmax><ymax>8</ymax>"
    part = f"<part><name>head</name><bndbox>{corners.format(3.25)}</bndbox></part>"
    extra = f"<object><name>person</name><bndbox>{corners.format(1)}</bndbox>{part}</object>"
    xml_file(root / "Annotations" / "a.xml", extra=extra)
    (record,) = load_dataset(root).records
    assert [(box.label, box.xyxy) for box in record.boxes] == [("person", (0, 1, 9.5, 8))]


def test_parts_of_voc_2007_are_there_and_not_read(shared_data):
    root = shared_data / "voc2007_native"
    names = (root / "ImageSets" / "Main" / "test.txt").read_text().split()
    texts = {name: (root / "Annotations" / f"{name}.xml").read_text() for name in names}
    assert sum("<part>" in text for text in texts.values()) == 12
    for record in load_dataset(root, split="test").records:
        assert len(record.boxes) == texts[record.name].count("<object>"), record.name
        assert not {"head", "hand", "foot"} & {box.label for box in record.boxes}


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "mode"), [("GIF", "P"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("JPEG", "L")])
def test_other_ending(make_voc, kind, mode):
    root = make_voc({"train": {"a": ONE}})
    Image.new("RGB", (100, 80), (200, 30, 40)).convert(mode).save(root / "JPEGImages" / "a.jpg", format=kind)
    dataset = load_dataset(root)
    (record,) = dataset.records
    image = record.source.read()
    assert (image.mode, image.size, dataset.faults) == ("RGB", (100, 80), ())
    red, green, _ = np.asarray(image)[40, 50].tolist()
    assert abs(red - green) < 8 if mode == "L" else red > green + 120


def test_what_lies_under_other_endings_in_the_sets(shared_data):
    kinds = Counter()
    for path in sorted((shared_data / "road_signs" / "images").glob("*.png")):
        with Image.open(path) as image:
            kinds[image.format, image.mode] += 1
        assert image_size(path) == (400, 300)
    by_format = Counter(kind for kind, _ in kinds.elements())
    assert (by_format["JPEG"], by_format["WEBP"]) == (24, 2)
    assert kinds["PNG", "RGBA"] == 3
    for name, kind in (("Abyssinian_34", "GIF"), ("Abyssinian_5", "PNG")):
        with Image.open(shared_data / "oxford_pets" / "images" / f"{name}.jpg") as image:
            assert image.format == kind


# --- COCO, and splits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [100.33, 100.4])
def test_past_the_edge(make_coco, coco_dict, right):
    root = make_coco(coco_dict({"a.jpg": [("dent", (90, 10, right - 90, 5))]}, ["dent"]))
    dataset = load_dataset(root)
    assert dataset.records[0].boxes[0].xyxy == (90, 10, 100, 15)
    assert dataset.counts()["faults"] == {"overhang": 1}
    assert dataset.faults[0].pixels == pytest.approx(right - 100)
    far = make_coco(coco_dict({"a.jpg": [("dent", (90, 10, 30, 5))]}, ["dent"]), name="far")
    with pytest.raises(DataError, match="outside"):
        load_dataset(far)


def test_overhangs_of_car_damage_are_fractions(shared_data):
    parts = [load_dataset(shared_data / "car_damage", split=split) for split in ("train", "val", "test")]
    pixels = [fault.pixels for part in parts for fault in part.faults if fault.kind == "overhang"]
    assert len(pixels) == 14
    assert 0 < max(pixels) < 0.4


def test_same_photo(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}, "val": {"c": ONE, "d": ONE}})
    for number, name in enumerate("abcd"):
        Image.new("RGB", (100, 80), (60 * number, 90, 10)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "JPEGImages" / "c.jpg").write_bytes((root / "JPEGImages" / "b.jpg").read_bytes())
    test = open_splits(DataConfig(path=str(root))).test
    assert [(fault.where, fault.message) for fault in test.faults] == [("c", 'is b of the training split "train"')]
    assert '1 photo of the split "val" in the training split "train", too: c' in test.notes


def test_image_without_boxes(make_coco, coco_dict):
    dataset = load_dataset(make_coco(coco_dict({"a.jpg": [("dent", (1, 1, 9, 9))], "b.jpg": []}, ["dent"])))
    assert [len(record.boxes) for record in dataset.records] == [1, 0]
    assert dataset.counts()["images_without_boxes"] == 1


def test_crowd(make_coco, coco_dict):
    content = coco_dict({"a.jpg": [("dent", (1, 1, 9, 9)), ("dent", (0, 0, 100, 80))]}, ["dent"])
    content["annotations"][1] |= {"iscrowd": 1, "segmentation": {"counts": [0, 8000], "size": [80, 100]}}
    dataset = load_dataset(make_coco(content))
    assert [box.ignored for box in dataset.records[0].boxes] == [False, True]
    assert dataset.counts()["crowd"] == 1


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 17, 90)], ids=["from 0", "with gaps"])
def test_categories(make_coco, coco_dict, ids):
    content = coco_dict({"a.jpg": [("dent", (1, 1, 9, 9)), ("scratch", (5, 5, 9, 9))]}, ["severity", "dent", "scratch"])
    new = {category["id"]: own for category, own in zip(content["categories"], ids, strict=True)}
    for category in content["categories"]:
        category["id"] = new[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = new[annotation["category_id"]]
    dataset = load_dataset(make_coco(content))
    assert dataset.classes == ("dent", "scratch")
    assert [box.label for box in dataset.records[0].boxes] == ["dent", "scratch"]
    assert "left out, having no box in any split: severity" in dataset.notes


def test_ids_of_categories_in_the_sets(shared_data):
    for name, split, first, gaps in (("car_damage", "train", 0, False), ("coco_mini", "train2017", 1, True)):
        path = shared_data / name / "annotations" / f"instances_{split}.json"
        ids = sorted(category["id"] for category in json.loads(path.read_text())["categories"])
        assert ids[0] == first
        assert (len(ids) < ids[-1] - ids[0] + 1) == gaps
        assert load_dataset(shared_data / name, split=split).counts()["boxes"] > 0
