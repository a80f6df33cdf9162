"""Flags, sizes, lists, XML and tables that are not understood are named: none counts as empty, false or absent."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.data.doctor.repair import repair
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.data.registry import list_splits
from smoothiou.engine.config import DataConfig
from smoothiou.engine.open_data import open_split, open_splits
from smoothiou.errors import DataError
from smoothiou.metrics import evaluate_detections
from tests.data.conftest import save_image
from tests.data.doctor_sets import TRAINING, coco, voc

ONE = [("dog", (11, 21, 30, 40))]
BOX = (1, 1, 20, 20)


def records(root, split="train", **options):
    return {record.name: record for record in load_dataset(root, split=split, **options).records}


# ---- 1. flags


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1", 1), (1.0, 1), ("0.0", 0), (False, 0), (" 1 ", 1)])
def test_a_flag_of_coco_is_0_or_1_in_any_form_of_a_number(make_coco, coco_dict, flag, value, expected):
    content = coco_dict({"a.jpg": [("cat", BOX), ("cat", (2, 2, 30, 30))]}, ["cat"])
    content["annotations"][0][flag] = value
    assert [box.ignored for box in records(make_coco(content))["a.jpg"].boxes] == [bool(expected), False]


NO_FLAGS = ["false", "no", "", float("nan"), float("inf"), [0], {}, None, 2, -1, 0.5, "1_0"]


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_any_other_flag_of_coco_is_named_with_its_index(make_coco, coco_dict, flag, value):
    content = coco_dict({"a.jpg": [("cat", (2, 2, 30, 30)), ("cat", BOX)]}, ["cat"])
    content["annotations"][1][flag] = value
    root = make_coco(content)
    with pytest.raises(DataError, match=rf"annotations\[1\].*{flag}"):
        load_dataset(root)
    places = [e.where for e in examine(root, training=TRAINING).finding("unreadable-annotation").examples]
    assert places == ["instances_train.json: annotations[1]"]


@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_an_evaluation_names_a_flag_that_is_none(value):
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": value}],
    }
    with pytest.raises(DataError, match=r"annotations\[0\].*iscrowd"):
        evaluate_detections(truth, [])


def difficult(text: str) -> str:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    return f"<object><name>dog</name>{box}<difficult>{text}</difficult></object>"


@pytest.mark.parametrize(
    ("text", "expected"), [("1.0", True), ("1", True), (" 1 ", True), ("0.0", False), ("", False), ("true", True)]
)
def test_a_difficult_object_of_voc_is_so_in_any_form_of_a_number(tmp_path, xml_file, text, expected):
    annotation = read_annotation(xml_file(tmp_path / "a.xml", extra=difficult(text)), root=tmp_path)
    assert annotation.boxes[0].difficult is expected


@pytest.mark.parametrize("text", ["2", "maybe", "nan", "-1", "Unspecified", "0,1"])
def test_any_other_difficult_is_named_with_its_object(tmp_path, xml_file, text):
    path = xml_file(tmp_path / "a.xml", ONE, extra=difficult(text))
    with pytest.raises(DataError, match=r"a\.xml: object 2.*difficult"):
        read_annotation(path, root=tmp_path)


# ---- 2. nothing left


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_whose_boxes_are_all_crowds_or_ignored_stops(make_coco, coco_dict, flag, split):
    contents = {part: coco_dict({f"{part}.jpg": [("cat", BOX)]}, ["cat"]) for part in ("train", "val")}
    contents[split]["annotations"][0][flag] = 1
    root = make_coco(contents["train"], contents["val"])
    with pytest.raises(DataError, match=f'"{split}".*no box'):
        open_splits(DataConfig(path=str(root)))
    finding = examine(root, training=TRAINING).finding("empty-split")
    assert [example.where for example in finding.examples] == [split]


def test_a_split_whose_boxes_are_all_difficult_or_dropped_stops(make_voc, xml_file):
    root = make_voc({"train": {"a": [], "b": [("dog", (40, 1, 10, 9))]}})
    xml_file(root / "Annotations" / "a.xml", extra=difficult("1"))
    with pytest.raises(DataError, match='"train".*no box'):
        open_split(DataConfig(path=str(root), allow_dropped=1), "train")


# ---- 5. lists


def test_a_line_that_is_a_name_is_no_name_with_a_column(make_voc):
    root = make_voc({"train": {"cat 0": ONE, "cat 1": ONE, "cat -1": ONE}, "night_train": {"cat 1": ONE}})
    (root / "ImageSets" / "Main" / "val.txt").write_text("cat 0 1\n")
    assert sorted(records(root)) == ["cat -1", "cat 0", "cat 1"]
    assert list(records(root, "val")) == ["cat 0"]
    assert list(records(root, "night_train")) == ["cat 1"]


def test_a_list_of_one_class_is_still_none_of_images(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\nb -1\n")
    assert examine(root, training=TRAINING).survey.splits.keys() == {"train"}


# ---- 6. XML of another shape


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: text.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        lambda text: text.replace("<annotation>", '<v:annotation xmlns:v="urn:v">').replace("</an", "</v:an"),
        lambda text: text.replace("object>", "Object>").replace("bndbox>", "BndBox>").replace("xmin>", "XMin>"),
        lambda text: text.replace("annotation>", "Annotation>"),
    ],
    ids=["namespace", "prefix", "capitals", "root"],
)
def test_namespaces_and_capitals_of_tags_do_not_matter(tmp_path, xml_file, shape):
    path = xml_file(tmp_path / "a.xml", ONE)
    path.write_text(shape(path.read_text()))
    assert [box.xyxy for box in read_annotation(path, root=tmp_path).boxes] == [(10, 20, 30, 40)]


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (lambda text: text.replace("<object>", "<all><object>").replace("</object>", "</object></all>"), "all"),
        (lambda text: text.replace("object>", "item>"), "item"),
        (lambda text: text.replace("annotation>", "root>"), "root"),
        (lambda text: f"<annotations>{text}</annotations>", "annotations"),
        (lambda text: "<annotation></annotation>", "nothing"),
        (lambda text: "<annotation><thing/></annotation>", "nothing"),
        (lambda text: text.replace("<object>", '<box label="dog" xtl="1" ytl="2" xbr="9" ybr="8"/><object>'), "box"),
        (lambda text: text.replace("</bndbox>", "</bndbox><bndbox></bndbox>"), "bndbox"),
    ],
    ids=["wrapper", "other-tag", "other-root", "wrapped-root", "empty", "nothing-known", "attributes", "two-boxes"],
)  # fmt: skip
def test_xml_that_holds_boxes_elsewhere_is_a_fault(tmp_path, xml_file, shape, named):
    path = xml_file(tmp_path / "a.xml", ONE)
    path.write_text(shape(path.read_text()))
    with pytest.raises(DataError, match=rf"a\.xml.*{named}"):
        read_annotation(path, root=tmp_path)


def test_an_annotation_without_objects_is_an_image_without_boxes(tmp_path, xml_file):
    path = xml_file(tmp_path / "a.xml", file_name="a.jpg", extra="<weather>rain</weather>")
    assert read_annotation(path, root=tmp_path).boxes == ()


INNER = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
OBJECT = f"<object><name>dog</name>{INNER}</object>"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (f"<source>{OBJECT}</source>", "object.*source"),
        (f"<size>{OBJECT}</size>", "object.*size"),
        (f"<owner><name>me</name>{OBJECT}</owner>", "object.*owner"),
        (f"<segmented>{INNER}</segmented>", "bndbox.*segmented"),
        (f"<filename>{OBJECT}</filename>", "object.*filename"),
        ("<boxes>10 10 50 50 cat</boxes>", "boxes"),
        ("<cat>10,10,50,50</cat>", "cat"),
        ("<cat>xmin=10, ymin=10, xmax=50, ymax=50</cat>", "cat"),
        ("<segmented>10.5 10 50 50</segmented>", "segmented"),
        ("cat 10 10 50 50", "cat 10 10 50 50"),
    ],
)
def test_boxes_in_another_place_or_as_text_are_no_image_without_boxes(tmp_path, xml_file, extra, named):
    path = xml_file(tmp_path / "a.xml", file_name="a.jpg", extra=extra)
    with pytest.raises(DataError, match=rf"a\.xml.*{named}"):
        read_annotation(path, root=tmp_path)


@pytest.mark.parametrize(
    "extra",
    [
        "<source><database>VOC 2007</database><flickrid>1</flickrid></source>",
        "<source><a>1</a> <b>2</b> <c>3</c> <d>4</d></source>",
        "<owner>me, born 1 2 1980</owner>",
        "<time>2020-01-01 10:00:00</time>",
        "<time>2020/01/01, 10:00:00.5</time>",
        "<segmented>0</segmented>",
        "<folder>10 10 50 50</folder>",
    ],
)
def test_what_describes_a_photo_may_hold_text_and_numbers(tmp_path, xml_file, extra):
    path = xml_file(tmp_path / "a.xml", file_name="a.jpg", extra=extra)
    assert read_annotation(path, root=tmp_path).boxes == ()


CVAT = '<annotations><version>1.1</version><image id="0" name="a.jpg"><box label="dog" xtl="1"/></image></annotations>'


@pytest.mark.parametrize(
    ("file", "content", "tool"),
    [
        ("annotations.xml", CVAT, "CVAT"),
        ("annotations/annotations.xml", CVAT, "CVAT"),
        ("config.xml", "<View><RectangleLabels/></View>", "Label Studio"),
        ("export.json", json.dumps([{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]), "Label Studio"),
        ("min.json", json.dumps([{"image": "a.jpg", "id": 1, "label": [{"x": 1}]}]), "Label Studio"),
        ("a.json", json.dumps({"shapes": [], "imagePath": "a.jpg"}), "LabelMe"),
        ("via.json", json.dumps({"a.jpg1": {"filename": "a.jpg", "regions": []}}), "VGG"),
    ],
)
def test_files_of_tools_are_named_with_what_to_export(tmp_path, image_file, file, content, tool):
    image_file(tmp_path / "images" / "a.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    for path in (tmp_path, tmp_path / file):
        for read in (load_dataset, examine):
            with pytest.raises(DataError) as caught:
                read(path)
            assert tool in caught.value.hint
            assert "xport" in caught.value.hint or "convert" in caught.value.hint


# ---- 7. one photo as two records


def test_one_file_under_two_ids_of_coco_is_refused(make_coco, coco_dict):
    content = coco_dict({"a.jpg": [("cat", BOX)], "b.jpg": [("cat", BOX)]}, ["cat"])
    content["images"].append({"id": 99, "file_name": "a.jpg"})
    with pytest.raises(DataError, match=r"images\[2\].*a\.jpg"):
        load_dataset(make_coco(content))


def test_one_file_under_two_spellings_of_its_path_is_refused_and_joined_by_the_doctor(tmp_path):
    def twice(content):
        content["images"].append({"id": 99, "file_name": "./001.jpg", "width": 100, "height": 80})
        content["annotations"].append({"id": 99, "image_id": 99, "category_id": 10, "bbox": [60, 5, 32, 32]})

    root = coco(tmp_path / "coco", twice)
    with pytest.raises(DataError, match="several annotations"):
        load_dataset(root)
    report = examine(root, training=TRAINING)
    assert report.finding("duplicate-name").count == 1
    repair(report, tmp_path / "copy")
    assert len(records(tmp_path / "copy")["001.jpg"].boxes) == 3


@pytest.mark.parametrize("link", [False, True])
def test_two_xml_files_of_one_photo_are_refused_and_joined_by_the_doctor(tmp_path, xml_file, link):
    root = voc(tmp_path / "voc")
    xml_file(root / "Annotations" / "001b.xml", [("dog", (60, 5, 91, 36))], file_name="001.jpg")
    if link:
        (root / "JPEGImages" / "001b.jpg").symlink_to("001.jpg")
    with (root / "ImageSets" / "Main" / "train.txt").open("a") as lines:
        lines.write("001b\n")
    with pytest.raises(DataError, match="several annotations"):
        load_dataset(root)
    report = examine(root, training=TRAINING)
    assert report.finding("duplicate-name").count == 1
    repair(report, tmp_path / "copy")
    assert len(records(tmp_path / "copy")["001.jpg"].boxes) == 3
    assert examine(tmp_path / "copy", training=TRAINING).errors == 0


# ---- 8. sizes


@pytest.mark.parametrize("size", [(960.0, 720), ("960", "720"), (960, "720.0")], ids=repr)
def test_a_size_in_any_form_of_a_number_is_compared_with_the_file(make_coco, coco_dict, size):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0] |= {"width": size[0], "height": size[1]}
    assert [fault.kind for fault in load_dataset(make_coco(content)).faults] == ["size-mismatch"]


@pytest.mark.parametrize(
    "size", [("wide", 80), (100.5, 80), (float("nan"), 80), ([100], 80), (True, 80), (100, None)], ids=repr
)
def test_a_size_that_is_no_whole_number_is_named(make_coco, coco_dict, size):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0] |= {"width": size[0], "height": size[1]}
    with pytest.raises(DataError, match=r"images\[0\].*(width|height)"):
        load_dataset(make_coco(content))


def test_sizes_of_voc_are_read_in_the_same_way(make_voc, xml_file):
    root = make_voc({"train": {"a": ONE}})
    xml_file(root / "Annotations" / "a.xml", ONE, size=("960.0", "720.0"))
    assert [fault.kind for fault in load_dataset(root).faults] == ["size-mismatch"]
    xml_file(root / "Annotations" / "a.xml", ONE, size=("wide", "720"))
    with pytest.raises(DataError, match=r"a\.xml.*width"):
        load_dataset(root)


# ---- 11. CSV

ROWS = [
    ("xmin", "ymin", "xmax", "ymax", "Frame", "Label"),
    (1, 2, 30, 40, "a.jpg", "Car"),
    (5, 6, 70, 71.5, "b.jpg", "Truck"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("header", [True, False])
def test_a_table_may_be_quoted_and_have_any_usual_delimiter(tmp_path, image_file, delimiter, quoted, header):
    for name in "ab":
        image_file(tmp_path / f"{name}.jpg")
    texts = [[f'"{cell}"' if quoted else str(cell) for cell in row] for row in ROWS[0 if header else 1 :]]
    if delimiter == ";":
        texts[-1][3] = texts[-1][3].replace(".", ",")  # as a spreadsheet in German writes it
    (tmp_path / "labels_train.csv").write_text("\n".join(delimiter.join(row) for row in texts))
    assert {name: r.boxes[0].xyxy for name, r in records(tmp_path).items()} == {
        "a.jpg": (1, 2, 30, 40),
        "b.jpg": (5, 6, 70, 71.5),
    }


def test_a_quoted_label_may_hold_a_delimiter(tmp_path, image_file):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "labels_train.csv").write_text('xmin,ymin,xmax,ymax,Frame,Label\n1,2,30,40,a.jpg,"car; red"\n')
    assert records(tmp_path)["a.jpg"].boxes[0].label == "car; red"


@pytest.mark.parametrize(
    ("text", "named"), [("xmin,ymin,xmax,ymax,Label\n1,2,3,4,car\n", "frame"), ("a|b|c\n1|2|3\n", "layout")]
)
def test_why_a_table_is_not_read_is_said_of_its_folder(tmp_path, text, named):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert named in caught.value.hint


# ---- 14. Unicode

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


# ---- other spellings of what is optional, and what stands twice


@pytest.mark.parametrize(
    "key", ["isCrowd", "is_crowd", "IsCrowd", "Ignore", "iscrowd ", "is-crowd", "difficult", "crowd"]
)
def test_another_spelling_of_a_flag_of_coco_is_named(make_coco, coco_dict, key):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["annotations"][0][key] = 1
    with pytest.raises(DataError, match=rf"annotations\[0\].*{key}"):
        load_dataset(make_coco(content))


@pytest.mark.parametrize("key", ["Width", "HEIGHT"])
def test_another_spelling_of_a_size_of_coco_is_named(make_coco, coco_dict, key):
    content = coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"])
    content["images"][0][key] = 96
    with pytest.raises(DataError, match=rf"images\[0\].*{key}"):
        load_dataset(make_coco(content))


CORNERS = "<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ('<name>dog</name><difficult value="1"/>', "difficult"),
        ("<name>dog</name><difficult><x/></difficult>", "difficult"),
        ("<name>dog</name><difficult>0</difficult><difficult>1</difficult>", "difficult"),
        ("<name>dog</name><name>cat</name>", "name"),
        ("<name>dog</name><deleted>1</deleted>", "deleted"),
        ("<name>dog</name><is_difficult>1</is_difficult>", "difficult"),
        ("<name>dog</name><iscrowd>true</iscrowd>", "iscrowd"),
        ('<name>dog</name><difficult value="1">0</difficult>', "difficult"),
        (
            "<name>dog</name><attributes><attribute><name>difficult</name><value>true</value></attribute></attributes>",
            "difficult",
        ),
        (f"<name>dog</name><object><name>cat</name><bndbox>{CORNERS}</bndbox></object>", "object"),
    ],
)
def test_what_an_object_says_twice_or_elsewhere_is_named(tmp_path, xml_file, inside, named):
    extra = f"<object>{inside}<bndbox>{CORNERS}</bndbox></object>"
    with pytest.raises(DataError, match=rf"object 1.*{named}"):
        read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path)


def test_flags_of_other_tools_that_are_not_set_do_not_matter(tmp_path, xml_file):
    flags = "<deleted>0</deleted><ignore>0</ignore>"
    flags += "<attributes><attribute><name>ignore</name><value>false</value></attribute></attributes>"
    extra = f"<object><name>dog</name>{flags}<bndbox>{CORNERS}</bndbox></object>"
    assert len(read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path).boxes) == 1


def test_a_box_under_another_tag_beside_objects_is_named(tmp_path, xml_file):
    extra = "<item><name>cat</name><x>1</x><y>2</y><w>9</w><h>8</h></item>"
    with pytest.raises(DataError, match="item"):
        read_annotation(xml_file(tmp_path / "a.xml", ONE, extra=extra), root=tmp_path)


def test_two_file_names_are_named(tmp_path, xml_file):
    with pytest.raises(DataError, match="filename"):
        read_annotation(
            xml_file(tmp_path / "a.xml", ONE, file_name="a.jpg", extra="<filename>b.jpg</filename>"), root=tmp_path
        )


def test_a_corner_that_stands_twice_is_named(tmp_path, xml_file):
    extra = f"<object><name>dog</name><bndbox>{CORNERS}<xmin>3</xmin></bndbox></object>"
    with pytest.raises(DataError, match="several <xmin>"):
        read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path)


@pytest.mark.parametrize(
    "size", ['<size width="9" height="9"/>', "<size><w>9</w><h>9</h></size>", "<size/><size><width>9</width></size>"]
)
def test_a_size_of_voc_that_is_not_understood_is_named(tmp_path, size):
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    with pytest.raises(DataError, match="size"):
        read_annotation(tmp_path / "a.xml", root=tmp_path)


@pytest.mark.parametrize("size", ["<size/>", "<size><depth>3</depth></size>", ""])
def test_an_annotation_may_have_no_size(tmp_path, size):
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    assert read_annotation(tmp_path / "a.xml", root=tmp_path).size is None


def test_a_part_of_an_object_may_have_its_name_and_box(tmp_path, xml_file):
    """PASCAL's layout of persons: the parts' names and boxes are not the object's."""
    part = f"<part><name>head</name><bndbox>{CORNERS}</bndbox></part>"
    extra = f"<object><name>person</name><bndbox>{CORNERS}</bndbox>{part}</object>"
    boxes = read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path).boxes
    assert [box.label for box in boxes] == ["person"]


@pytest.mark.parametrize(
    "line",
    ["cat 0.xml", "Annotations/cat 0.xml", "JPEGImages/cat 0.jpg", "./JPEGImages/cat 0.jpg Annotations/cat 0.xml"],
)
def test_a_line_may_be_a_file_or_a_pair_of_files(make_voc, line):
    root = make_voc({"train": {"cat 0": ONE}, "val": {"cat 1": ONE}})
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"{line}\n")
    assert [len(record.boxes) for record in records(root).values()] == [1]


def test_a_name_with_an_ending_is_one_where_its_xml_has_it(make_voc):
    root = make_voc({"train": {"c.png": ONE}, "val": {"b": ONE}})
    assert list(records(root)) == ["c.png"]


def test_two_xml_files_that_differ_in_their_ending_alone_are_refused(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {"b": ONE}})
    shutil.copy(root / "Annotations" / "a.xml", root / "Annotations" / "a.XML")
    with pytest.raises(DataError, match=r"a\.XML and a\.xml"):
        load_dataset(root)
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(DataError, match=r"a\.XML and a\.xml"):
        load_dataset(root)


def test_a_coco_file_that_is_cut_off_is_named_whatever_it_is_called(make_coco, coco_dict):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    file = root / "annotations" / "instances_train.json"
    whole = file.read_text()
    file.unlink()
    (root / "annotations" / "my_labels.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"my_labels\.json, line 1"):
        load_dataset(root)


@pytest.mark.parametrize("name", ["val.json", "test.json"])
def test_files_beside_instances_are_splits_too(make_coco, coco_dict, name):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    (root / "annotations" / name).write_text((root / "annotations/instances_train.json").read_text())
    assert name.partition(".")[0] in list_splits(root)


@pytest.mark.parametrize("content", ["[]", '{"Images": [], "Annotations": [], "Categories": []}'])
def test_a_split_of_coco_in_another_shape_is_named(make_coco, coco_dict, content):
    root = make_coco(coco_dict({"a.jpg": [("cat", BOX)]}, ["cat"]))
    (root / "annotations" / "test.json").write_text(content)
    with pytest.raises(DataError, match=r"test\.json"):
        load_dataset(root, split="test")


def test_the_frames_of_a_split_are_in_its_own_folder(tmp_path, image_file):
    for split in ("train", "test"):
        image_file(tmp_path / split / "0.jpg")
        (tmp_path / f"labels_{split}.csv").write_text("0.jpg,1,30,2,40,1\n")
    for split in ("train", "test"):
        (record,) = load_dataset(tmp_path, split=split).records
        assert record.source.path.parent.name == split


def test_a_frame_that_could_be_either_of_two_is_refused(tmp_path, image_file):
    for folder in ("depth", "frames"):
        image_file(tmp_path / folder / "0.jpg")
    (tmp_path / "labels_train.csv").write_text("0.jpg,1,30,2,40,1\n")
    with pytest.raises(DataError, match=r"depth/0\.jpg or frames/0\.jpg"):
        load_dataset(tmp_path)


def test_a_table_may_end_in_tsv(tmp_path, image_file):
    image_file(tmp_path / "1.jpg")
    (tmp_path / "labels.tsv").write_text("frame\txmin\txmax\tymin\tymax\tclass_id\n" + "1.jpg\t1\t20\t2\t22\tcar\n")
    assert [len(record.boxes) for record in records(tmp_path).values()] == [1]
