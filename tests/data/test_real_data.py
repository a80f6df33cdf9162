"""The real data sets beside the checkout: known counts and known faults."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter

import pytest

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.faults import fit_boxes
from smoothiou.data.formats.pets import breed, tensorflow_cut
from smoothiou.data.formats.udacity import group_by_time, second
from smoothiou.data.formats.udacity_table import read_labels
from smoothiou.data.formats.voc import CLASSES
from smoothiou.data.images import image_size, read_image
from smoothiou.data.leaks import same_photos
from smoothiou.data.splits import photo, read_list, seeded_cut
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_splits
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
    assert list_splits(root) == ("train", "val", "trainval", "tf-train", "tf-val")
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
    with pytest.raises(DataError, match="no boxes: .*61 images"):
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
    train, val = (load_dataset(root, split=split, follow_links=True) for split in ("train", "val"))
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
    with pytest.raises(DataError, match="6 .*missing: road525.* 3 more"):
        load_dataset(source)
    root = tmp_path / "signs"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for folder in ("annotations", "images"):
        (root / folder).symlink_to(source / folder)
    names = sorted(path.stem for path in (source / "images").iterdir())
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    dataset = load_dataset(root, follow_links=True)
    assert (len(dataset.records), dataset.counts()["boxes"]) == (35, 62)
    # JPEG and WebP data and alpha channels under .png.
    assert {record.source.read().mode for record in dataset.records} == {"RGB"}


def test_the_official_list_of_pets_is_cut_as_by_the_tensorflow_api(shared_data, tmp_path):
    source = shared_data / "oxford_pets"
    names = read_list(source / "official_lists" / "trainval.txt")
    lists = [line.split()[0] for line in names if not line.startswith("#")]
    cut = tensorflow_cut(lists)
    assert (len(lists), len(cut["tf-train"]), len(cut["tf-val"])) == (3680, 2576, 1104)
    assert {breed(name) for name in cut["tf-val"]} == {breed(name) for name in lists}
    train, val = (load_dataset(source, split=split, labels="breed") for split in ("tf-train", "tf-val"))
    assert (len(train.records) + 3, len(val.records) + 1) == (448, 192)
    assert not {record.name for record in train.records} & {record.name for record in val.records}


@pytest.mark.parametrize(
    ("name", "layout", "frames", "per_class"),
    [
        ("labels_crowdai.csv.gz", "crowdai", 9218, {"car": 62570, "pedestrian": 5675, "truck": 3819}),
        (
            "labels_autti.csv.gz",
            "autti",
            13063,
            {"car": 60788, "pedestrian": 9866, "truck": 3503, "trafficLight": 17253, "biker": 1676},
        ),
    ],
)
@pytest.mark.slow
def test_every_udacity_box(shared_data, name, layout, frames, per_class):
    labels = read_labels(shared_data / "udacity" / name)
    boxes = [box for found in labels.boxes.values() for box in found]
    assert (labels.layout, len(labels.boxes)) == (layout, frames)
    assert Counter(box.label for box in boxes) == per_class
    flat = [frame for frame, found in labels.boxes.items() for box in found if box.xyxy[1] == box.xyxy[3]]
    wide = [frame for frame, found in labels.boxes.items() for box in found if box.xyxy[2] > 1920]
    if layout == "crowdai":
        assert flat == [f"{at}.jpg" for at in FLAT]
        assert wide == []
    else:
        assert flat == []
        assert "1478897138029169863.jpg" in wide
        assert len(wide) == 2
        assert "3 rows stand in it twice" in labels.notes[0]
    faults = Counter(fault.kind for fault in fit_boxes(boxes, width=1920, height=1200)[1])
    assert faults == ({"no-area": 4} if layout == "crowdai" else {"overhang": 2})
    # 80/20 in whole blocks: no second of the drive has frames on both sides.
    group, how = group_by_time(labels.boxes)
    cut = seeded_cut(labels.boxes, seed=0, group_of=group)
    assert how == "in blocks of 25 s of the drive"
    seconds = [{second(frame) for frame in cut[part]} for part in ("train", "val")]
    assert not seconds[0] & seconds[1]
    assert 0.75 < len(cut["train"]) / frames < 0.85


FLAT = (1479498564477313399, 1479498820473341507, 1479499937073018706, 1479505030914958665)


def test_udacity_samples_with_the_wrong_header_and_without_one(shared_data):
    right, wrong, bare = (
        read_labels(shared_data / "udacity" / f"labels_{name}.csv")
        for name in ("crowdai_sample", "crowdai_wrong_header_sample", "autti_attested_rows")
    )
    for frame, boxes in wrong.boxes.items():
        assert [box.xyxy for box in boxes] == [box.xyxy for box in right.boxes[frame]][: len(boxes)], frame
    assert "157 of 200 boxes would be impossible" in wrong.notes[0]
    first = bare.boxes["1478019952686311006.jpg"][0]
    assert (first.label, first.xyxy) == ("car", (950, 574, 1004, 620))
    assert sum(map(len, bare.boxes.values())) == 8


@pytest.mark.slow
def test_udacity_without_frames_names_the_first_and_the_count(shared_data):
    folder = shared_data / "udacity"
    assert detect_format(folder) == "udacity"
    with pytest.raises(DataError, match="6 sets"):
        load_dataset(folder)
    with pytest.raises(DataError, match=r"9218 .*1479498371963069978\.jpg.* 9215 more"):
        load_dataset(folder / "labels_crowdai.csv.gz")


@pytest.mark.parametrize("name", ["labels", "as_crowdai", "as_autti"])
def test_road_signs_in_three_csv_layouts(shared_data, name):
    path = shared_data / "road_signs" / f"{name}_train.csv"
    assert detect_format(path) == "udacity"
    assert choose_splits(path) == ("train", "", "val")
    train, val = (load_dataset(path, split=split) for split in ("train", "val"))
    assert (len(train.records), train.counts()["boxes"]) == (28, 55)
    assert (len(val.records), val.counts()["boxes"]) == (7, 7)
    assert train.classes == val.classes
    assert (
        train.classes
        == {
            "labels": ("1", "2", "3", "4", "5"),
            "as_crowdai": ("crosswalk", "priority_road", "stop", "trafficlight_green", "trafficlight_red"),
            "as_autti": ("crosswalk", "priority", "stop", "trafficLight"),
        }[name]
    )
    # All three hold the same boxes, on images of every kind under .png.
    corners = [[box.xyxy for box in record.boxes] for record in train.records]
    other = load_dataset(shared_data / "road_signs", format="udacity")
    assert corners == [[box.xyxy for box in record.boxes] for record in other.records]
    assert {record.source.read().mode for record in train.records} == {"RGB"}


@pytest.mark.slow
def test_voc_plus_plus_train(shared_data):
    data = f"{shared_data / 'voc2007'}+{shared_data / 'voc2012'}"
    assert choose_splits(data, train="VOC++Train") == ("VOC++Train", "", "voc2012:val")
    train = load_dataset(data, split="VOC++Train")
    parts = [load_dataset(shared_data / name) for name in ("voc2007", "voc2012")]
    assert train.classes == CLASSES
    assert [record.name for record in train.records] == [
        f"{part.name}/{record.name}" for part in parts for record in part.records
    ]
    assert train.counts()["per_class"] == {
        name: sum(part.counts()["per_class"][name] for part in parts) for name in CLASSES
    }
    val = load_dataset(data, split="voc2012:val")
    assert (val.name, val.split, len(val.records)) == ("voc2012", "val", 300)
    assert same_photos(train, val) == []


def test_the_same_photo_in_two_splits_of_car_damage_is_named(shared_data):
    splits = open_splits(DataConfig(path=str(shared_data / "car_damage")))
    assert splits.val is not None
    leaks = json.loads((shared_data / "car_damage" / "annotations" / "same_source_in_two_splits.json").read_text())
    named = {fault.where: fault.message for fault in splits.val.faults if fault.kind == "same-photo"}
    assert named.keys() == {name for leak in leaks for split, name in leak["files"] if split == "val"}
    assert all(any(f"is {name} of" in named[other] for name, other in pairs(leak)) for leak in leaks)
    assert any(note.startswith('4 photos of the split "val" in the training split') for note in splits.val.notes)
    assert splits.test.counts()["faults"] == {"overhang": 3}


def pairs(leak):
    files = dict(leak["files"])
    return [(files["train"], files["val"])]


def test_car_damage_as_the_paper_splits_it(shared_data):
    root = shared_data / "car_damage"
    assert choose_splits(root, train="cut-train") == ("cut-train", "", "cut-val")
    train, val = (load_dataset(root, split=split) for split in ("cut-train", "cut-val"))
    listed = json.loads((root / "annotations" / "our_split_80_20.json").read_text())
    assert {record.name for record in train.records} == set(listed["train"])
    assert {record.name for record in val.records} == set(listed["val"])
    assert (len(train.records), len(val.records)) == (610, 152)
    assert not {photo(record.name) for record in train.records} & {photo(record.name) for record in val.records}
    assert any(note.startswith("4 images that it does not name were left out: val/31_jpg.rf.") for note in train.notes)
    assert any(note.startswith("long tail: minor-scratch has 954 of 1339 boxes (71 %)") for note in train.notes)
    assert len([fault for part in (train, val) for fault in part.faults if fault.kind == "overhang"]) == 14


@pytest.mark.slow
def test_thirteen_hundred_files_are_read_in_time(shared_data):
    started = time.process_time()
    load_dataset(shared_data / "voc2007")
    assert time.process_time() - started < 3
