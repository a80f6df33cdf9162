"""The real data sets beside the checkout: known counts and known faults."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.images import image_size, read_image
from smoothiou.data.voc import CLASSES
from smoothiou.errors import DataError


@pytest.mark.parametrize(
    ("name", "kind", "chosen"),
    [
        ("bccd", "voc", ("train", "val", "test")),
        ("playing_cards", "voc", ("train", "", "test")),
        ("voc2007", "voc", ("train", "", "val")),
        ("voc2007_native", "voc", ("train", "val", "test")),
        ("voc2012", "voc", ("train", "", "val")),
        ("oxford_pets", "pets", ("train", "", "val")),
        ("car_damage", "coco", ("train", "val", "test")),
        ("coco_mini", "coco", ("train2017", "", "val2017")),
    ],
)
def test_formats_and_splits(shared_data, name, kind, chosen):
    assert detect_format(shared_data / name) == kind
    assert choose_splits(shared_data / name) == chosen


@pytest.mark.parametrize(
    ("name", "split", "images", "boxes", "difficult"),
    [
        ("bccd", "train", 205, 2805, 0),
        ("bccd", "val", 87, 1138, 0),
        ("bccd", "test", 72, 945, 0),
        ("playing_cards", "train", 296, 527, 0),
        ("playing_cards", "test", 67, 143, 0),
        ("voc2007", "train", 800, 2457, 517),
        ("voc2007", "val", 500, 1596, 336),
        ("voc2007_native", "train", 20, 66, 13),
        ("voc2007_native", "val", 20, 44, 6),
        ("voc2007_native", "test", 30, 104, 40),
        ("voc2012", "train", 400, 956, 127),
        ("voc2012", "val", 300, 724, 56),
        ("oxford_pets", "train", 508, 509, 0),
        ("oxford_pets", "val", 128, 128, 0),
        ("car_damage", "train", 546, 1195, 0),
        ("car_damage", "val", 144, 318, 0),
        ("car_damage", "test", 76, 159, 0),
        ("coco_mini", "train", 17, 165, 0),
        ("coco_mini", "val", 7, 86, 0),
    ],
)
def test_counts(shared_data, name, split, images, boxes, difficult):
    counts = load_dataset(shared_data / name, split=split).counts()
    assert (counts["images"], counts["boxes"], counts["difficult"], counts["dropped"]) == (images, boxes, difficult, 0)


@pytest.mark.parametrize(
    ("name", "split", "per_class"),
    [
        ("bccd", "train", {"Platelets": 209, "RBC": 2382, "WBC": 214}),
        ("bccd", "val", {"Platelets": 83, "RBC": 968, "WBC": 87}),
        ("bccd", "test", {"Platelets": 69, "RBC": 805, "WBC": 71}),
        ("playing_cards", "train", {"ace": 92, "jack": 89, "king": 95, "nine": 89, "queen": 80, "ten": 82}),
        (
            "car_damage",
            "train",
            {
                "minor-dent": 82,
                "minor-scratch": 859,
                "moderate-broken": 23,
                "moderate-dent": 81,
                "moderate-scratch": 98,
                "severe-broken": 43,
                "severe-dent": 6,
                "severe-scratch": 3,
            },
        ),
    ],
)
def test_counts_per_class(shared_data, name, split, per_class):
    dataset = load_dataset(shared_data / name, split=split)
    assert dataset.counts()["per_class"] == per_class
    assert dataset.classes == tuple(sorted(per_class))


def test_boxes_of_one_pixel_in_bccd_are_kept(shared_data):
    tiny = {
        record.name: box.xyxy
        for split in ("trainval", "test")
        for record in load_dataset(shared_data / "bccd", split=split).records
        for box in record.boxes
        if box.xyxy[2] - box.xyxy[0] == 1
    }
    assert tiny == {"BloodImage_00338": (503, 336, 504, 337), "BloodImage_00343": (180, 328, 181, 329)}


def test_voc_boxes_equal_the_published_json(shared_data):
    dataset = load_dataset(shared_data / "voc2007_native", split="test")
    with gzip.open(shared_data / "voc_annotations_full" / "pascal_test2007.json.gz") as file:
        published = json.load(file)
    names = {category["id"]: category["name"] for category in published["categories"]}
    assert tuple(names.values()) == dataset.classes == CLASSES
    ids = {image["file_name"].removesuffix(".jpg"): image["id"] for image in published["images"]}
    by_image: dict[int, list] = {}
    for annotation in published["annotations"]:
        x, y, w, h = annotation["bbox"]
        entry = (names[annotation["category_id"]], (x, y, x + w, y + h), bool(annotation["ignore"]))
        by_image.setdefault(annotation["image_id"], []).append(entry)
    assert len(dataset.records) == 30
    for record in dataset.records:
        ours = [(box.label, box.xyxy, box.difficult) for box in record.boxes]
        assert ours == by_image[ids[record.name]], record.name


def test_pets(shared_data):
    root = shared_data / "oxford_pets"
    assert list_splits(root) == ("train", "val", "trainval")
    species = load_dataset(root, labels="species").counts()["per_class"]
    assert species == {"cat": 238, "dog": 271}
    breeds = [load_dataset(root, split=split, labels="breed") for split in ("train", "val")]
    assert len(breeds[0].classes) == 37
    assert breeds[0].classes == breeds[1].classes
    assert all(breeds[0].counts()["per_class"].values())
    trainval = load_dataset(root, split="trainval")
    lacking = [fault.where for fault in trainval.faults if fault.kind == "missing-annotation"]
    assert lacking == ["Abyssinian_104", "Bengal_111", "Bengal_175", "american_bulldog_202"]
    assert {r.name: len(r.boxes) for r in trainval.records if len(r.boxes) > 1} == {"Bengal_105": 2}
    with pytest.raises(DataError, match="has no boxes: none of its 61 images"):
        load_dataset(root, split="test")
    for name in ("Abyssinian_34", "Abyssinian_5"):  # a GIF and a PNG with alpha, named .jpg
        path = root / "images" / f"{name}.jpg"
        assert (read_image(path).mode, read_image(path).size) == ("RGB", image_size(path))


def test_pets_without_our_lists_are_cut_from_the_boxed_images(shared_data, tmp_path):
    root = tmp_path / "pets"
    (root / "annotations").mkdir(parents=True)
    (root / "images").symlink_to(shared_data / "oxford_pets" / "images")
    (root / "annotations" / "xmls").symlink_to(shared_data / "oxford_pets" / "annotations" / "xmls")
    (root / "annotations" / "trainval.txt").symlink_to(shared_data / "oxford_pets" / "annotations" / "trainval.txt")
    train, val = (load_dataset(root, split=split) for split in ("train", "val"))
    assert (len(train.records), len(val.records)) == (509, 127)
    assert any(note.startswith("4 images of trainval.txt without XML left out") for note in train.notes)


def test_car_damage(shared_data):
    datasets = [load_dataset(shared_data / "car_damage", split=split) for split in ("train", "val", "test")]
    assert {dataset.classes for dataset in datasets} == {datasets[0].classes}
    assert "left out, having no box in any split: severity-damage" in datasets[0].notes
    overhangs = [fault for dataset in datasets for fault in dataset.faults]
    assert {fault.kind for fault in overhangs} == {"overhang"}
    assert len(overhangs) == 14
    assert [dataset.counts()["images_without_boxes"] for dataset in datasets] == [7, 0, 1]


def test_coco_mini_has_crowds_and_empty_images(shared_data):
    train, val = (load_dataset(shared_data / "coco_mini", split=split) for split in ("train", "val"))
    assert train.counts()["crowd"] + val.counts()["crowd"] == 10
    assert [r.name for r in val.records if not r.boxes] == ["000000000250.jpg", "000000000508.jpg"]
    assert train.classes == val.classes
    assert train.split == "train2017"
    file = shared_data / "coco_mini" / "annotations" / "instances_val2017.json"
    assert load_dataset(file, split="val").counts()["boxes"] == 86


def test_xml_without_image_is_refused_until_a_list_leaves_it_out(shared_data, tmp_path):
    source = shared_data / "road_signs"
    with pytest.raises(
        DataError, match=r"6 annotated images are missing: road525\.xml, road526\.xml, road529\.xml and 3 more"
    ):
        load_dataset(source)
    root = tmp_path / "signs"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for folder in ("annotations", "images"):
        (root / folder).symlink_to(source / folder)
    names = sorted(path.stem for path in (source / "images").iterdir())
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    dataset = load_dataset(root)
    assert (len(dataset.records), dataset.counts()["boxes"]) == (35, 62)
    # JPEG and WebP data and alpha channels under .png.
    assert {record.source.read().mode for record in dataset.records} == {"RGB"}


def test_a_folder_of_csv_files_is_no_format(shared_data):
    with pytest.raises(DataError, match=r"udacity: no known data set\. Looked for"):
        detect_format(shared_data / "udacity")


def test_thirteen_hundred_files_are_read_in_time(shared_data):
    started = time.process_time()
    load_dataset(shared_data / "voc2007")
    assert time.process_time() - started < 3
