"""COCO: layouts, ids, faults, and the way there and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoothiou.data import Box, Dataset, ImageFile, Record, detect_format, list_splits, load_dataset
from smoothiou.data.export import to_coco
from smoothiou.data.formats.coco import file_split
from smoothiou.errors import DataError


@pytest.fixture
def content(coco_dict):
    """Two images with a box each, one without, and a category that nothing uses."""
    return coco_dict(
        {"a.jpg": [("cat", (10.5, 20, 30, 40))], "b.jpg": [("dog", (0, 0, 100, 80))], "c.jpg": []},
        ["things", "dog", "cat"],
    )


def test_boxes_classes_and_empty_images(make_coco, content):
    dataset = load_dataset(make_coco(content))
    assert dataset.classes == ("dog", "cat")
    assert dataset.notes == ("left out, having no box in any split: things",)
    assert [(r.name, [(b.label, b.xyxy) for b in r.boxes]) for r in dataset.records] == [
        ("a.jpg", [("cat", (10.5, 20, 40.5, 60))]),
        ("b.jpg", [("dog", (0, 0, 100, 80))]),
        ("c.jpg", []),
    ]


def test_a_category_with_a_box_in_another_split_is_kept_in_every_split(make_coco, content, coco_dict):
    val = coco_dict({"d.jpg": [("things", (1, 1, 5, 5))]}, ["things", "dog", "cat", "extra"])
    root = make_coco(content, val)
    train_set, val_set = (load_dataset(root, split=split) for split in ("train", "val"))
    assert train_set.classes == val_set.classes == ("things", "dog", "cat")
    assert 'classes without a box in the split "train": things' in val_set.notes


def test_classes_are_matched_by_name_where_two_files_number_them_differently(make_coco, coco_dict):
    box = (1, 1, 5, 5)
    train = coco_dict({"a.jpg": [("cat", box)]}, ["dog", "cat"])
    val = coco_dict({"b.jpg": [("cat", box), ("dog", box)]}, ["cat", "dog"])
    root = make_coco(train, val)
    assert load_dataset(root, split="val").classes == load_dataset(root).classes == ("dog", "cat")
    assert [b.label for b in load_dataset(root, split="val").records[0].boxes] == ["cat", "dog"]


def test_crowd_and_ignore_are_no_targets(make_coco, content):
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["ignore"] = 1
    boxes = [record.boxes[0] for record in load_dataset(make_coco(content)).records[:2]]
    assert [(box.crowd, box.difficult, box.ignored) for box in boxes] == [(True, False, True), (False, True, True)]


@pytest.mark.parametrize(
    ("file", "images", "split"),
    [
        ("annotations/instances_train2017.json", "train2017", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017", "train2017"),
        ("annotations/train.json", "images", "train"),
        ("train.json", ".", "train"),
        ("annotations/annotations_train.json", "images/train", "train"),
        ("train/_annotations.coco.json", "train", "train"),
    ],
)
def test_layouts(tmp_path, content, image_file, file, images, split):
    root = tmp_path / "set"
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(json.dumps(content))
    for name in "abc":
        image_file(root / images / f"{name}.jpg")
    assert detect_format(root) == "coco"
    assert list_splits(root) == (split,)
    assert len(load_dataset(root, split="train").records) == 3
    assert len(load_dataset(root / file, split=split).records) == 3


def test_a_single_file_whose_name_tells_no_split_is_cut(tmp_path, coco_dict, image_file):
    names = [f"photo{n}.rf.{copy}.jpg" for n in range(10) for copy in "xy"]
    content = coco_dict({name: [("dog", (1, 1, 9, 9))] for name in names}, ["dog"])
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(content))
    for name in names:
        image_file(tmp_path / name)
    assert list_splits(tmp_path) == ("train", "val")
    train, val = ([r.name for r in load_dataset(tmp_path, split=split).records] for split in ("train", "val"))
    assert sorted(train + val) == sorted(names)
    assert len(val) == 4
    photos = [{name.split(".rf.")[0] for name in part} for part in (train, val)]
    assert not photos[0] & photos[1], "copies of one photo must not be on both sides"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017", "val2017"),
        ("_annotations.coco", ""),
        ("annotations", ""),
        ("test", "test"),
        ("my-annotations_night", "my_night"),
    ],
)
def test_names_of_splits(tmp_path, name, split):
    assert file_split(tmp_path / "annotations" / f"{name}.json", tmp_path) == split


def test_other_json_files_beside_it_are_passed_over(make_coco, content):
    root = make_coco(content)
    folder = root / "annotations"
    (folder / "our_split.json").write_text('{"train": ["a.jpg"]}')
    (folder / "captions_train.json").write_text(json.dumps({"images": [], "annotations": []}))
    (root / "notes.json").write_text("not even JSON")
    assert list_splits(root) == ("train",)


def test_broken_json_is_named_with_its_line(make_coco, content):
    root = make_coco(content)
    (root / "annotations" / "instances_train.json").write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(DataError, match=r"instances_train\.json, line 2"):
        load_dataset(root)


def broken(**changes):
    """Return a function that changes entries of a COCO dictionary: images_1={...} updates images[1]."""

    def change(content):
        for place, values in changes.items():
            key, _, index = place.partition("_")
            entry = content[key][int(index)]
            for name, value in values.items():
                if value is None:
                    del entry[name]
                else:
                    entry[name] = value
        return content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken(images_1={"id": None}), r'images\[1\]: "id"'),
        (broken(images_1={"file_name": None}), r'images\[1\]: "file_name"'),
        (broken(images_1={"id": 5}), r"images\[1\]: .*5"),
        (broken(images_1={"id": [5]}), r'images\[1\]: "id"'),
        (broken(images_1={"file_name": 3}), r'images\[1\]: "file_name"'),
        (broken(images_1={"file_name": "../b.jpg"}), r"images\[1\]: .*relative path"),
        (broken(images_1={"file_name": "/b.jpg"}), r"images\[1\]: .*relative path"),
        (broken(annotations_1={"bbox": None}), r'annotations\[1\]: "bbox"'),
        (broken(annotations_1={"id": 1}), r"annotations\[1\]: .*1"),
        (broken(annotations_1={"image_id": 99}), r"annotations\[1\]: .*99"),
        (broken(annotations_1={"bbox": [1, 2, 3]}), r'annotations\[1\]: "bbox"'),
        (broken(annotations_1={"bbox": [1, 2, 3, "4"]}), r'annotations\[1\]: "bbox"'),
        (broken(annotations_1={"bbox": [1, 2, 3, True]}), r'annotations\[1\]: "bbox"'),
        (broken(annotations_1={"bbox": [1, 2, 0, 4]}), r"area.*annotations\[1\]"),
        (broken(annotations_1={"bbox": [1, 2, float("nan"), 4]}), r"annotations\[1\].*finite"),
        (broken(annotations_1={"bbox": [1, 2, 10**400, 4]}), r"annotations\[1\].*finite"),
        (broken(annotations_1={"category_id": 7}), r"annotations\[1\]: .*7"),
        (broken(categories_1={"id": 10}), r"categories\[1\]: .*10"),
        (broken(categories_1={"name": None}), r'categories\[1\]: "name"'),
        (lambda content: content | {"categories": []}, '"categories" is empty'),
        (lambda content: {k: v for k, v in content.items() if k != "categories"}, 'a list "categories"'),
        (lambda content: content | {"annotations": [3]}, r"annotations\[0\]: .*object"),
        (lambda content: content | {"annotations": []}, "no category"),
        (lambda content: [content], 'a list "images"'),
    ],
)
def test_what_is_wrong_is_said_with_its_index(make_coco, content, change, message):
    root = make_coco(content)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(change(content)))
    with pytest.raises(DataError, match=message):
        load_dataset(root)


def test_missing_images_are_named(make_coco, content):
    root = make_coco(content)
    (root / "images" / "train" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"missing: a\.jpg"):
        load_dataset(root)


def test_size_mismatch_overhang_and_allowed_drops_are_faults(make_coco, content):
    content["images"][0]["width"] = 640
    content["annotations"][0]["bbox"] = [90.0, 10.0, 10.33, 5.0]
    content["annotations"][1]["bbox"] = [200, 10, 5, 5]
    root = make_coco(content)
    dataset = load_dataset(root, allow_dropped=1)
    assert [fault.kind for fault in dataset.faults] == ["size-mismatch", "overhang", "outside"]
    assert dataset.records[0].boxes[0].xyxy == (90, 10, 100, 15)
    assert dataset.counts()["dropped"] == 1


def test_a_changed_file_is_read_again(make_coco, content):
    root = make_coco(content)
    assert load_dataset(root).classes == ("dog", "cat")
    content["categories"][2]["name"] = "lion"
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    assert load_dataset(root).classes == ("dog", "lion")


boxes_strategy = st.tuples(
    st.floats(0, 60),
    st.floats(0, 50),
    st.floats(1, 40),
    st.floats(1, 30),
    st.sampled_from("abc"),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(st.lists(boxes_strategy, max_size=4), min_size=1, max_size=3).filter(any))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_export_and_import_give_the_same_boxes(tmp_path, image_file, images):
    root = tmp_path / "round"
    records = []
    for number, boxes in enumerate(images):
        path = root / "images" / f"{number}.png"
        if not path.exists():
            image_file(path)
        records.append(
            Record(
                name=path.name,
                source=ImageFile(path),
                width=100,
                height=80,
                boxes=tuple(
                    Box(xyxy=(x, y, x + w, y + h), label=label, difficult=difficult, crowd=crowd)
                    for x, y, w, h, label, difficult, crowd in boxes
                ),
            )
        )
    labels = {box.label for record in records for box in record.boxes}
    before = Dataset(name="a", format="coco", split="train", classes=tuple(sorted(labels)), records=tuple(records))
    (root / "train.json").write_text(json.dumps(to_coco(before)))
    after = load_dataset(root, split="train")
    assert after.classes == before.classes
    for old, new in zip(before.records, after.records, strict=True):
        assert (old.name, old.width, old.height, old.source) == (new.name, new.width, new.height, new.source)
        assert [(b.label, b.ignored) for b in old.boxes] == [(b.label, b.ignored) for b in new.boxes]
        for a, b in zip(old.boxes, new.boxes, strict=True):
            assert b.xyxy == pytest.approx(a.xyxy, abs=1e-9)


def test_exported_ids_follow_the_order_of_records_and_classes(make_voc):
    root = make_voc({"train": {"b": [("dog", (11, 21, 30, 40))], "a": [("cat", (1, 1, 2, 2))]}})
    exported = to_coco(load_dataset(root))
    assert [(i["id"], i["file_name"]) for i in exported["images"]] == [(1, "b"), (2, "a")]
    assert [c["id"] for c in exported["categories"]] == list(range(1, 21))
    assert exported["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 12,
        "bbox": [10, 20, 20, 20],
        "area": 400,
        "iscrowd": 0,
        "ignore": 0,
    }
