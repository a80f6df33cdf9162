"""Annotations and images that mean harm: each stops with its name, in little time and memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import struct
import time
import zlib

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.box_list import read_box_list
from smoothiou.data.formats.coco import Coco
from smoothiou.data.formats.coco_json import read_json
from smoothiou.data.formats.udacity_table import MAX_LINES, is_label_file, read_labels
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.data.image_finder import ImageFinder, check_file_name
from smoothiou.data.images import image_size, read_image
from smoothiou.data.records import Dataset, Record
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.data.splits import read_list
from smoothiou.errors import DataError, SmoothIoUError
from smoothiou.files import Limits, allowing, printable

LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'
PARAMETER = '<!DOCTYPE l [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><annotation/>'


# ---- XML


@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE, PARAMETER])
def test_xml_with_entities_is_refused(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match="a.xml.*entities"):
        read_annotation(tmp_path / "a.xml", root=tmp_path)


def test_xml_that_is_too_large_or_no_file_is_refused(tmp_path):
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(2**40)
    os.mkfifo(tmp_path / "b.xml")
    (tmp_path / "c.xml").mkdir()
    for name, words in (("a", "16,777,216"), ("b", "a pipe"), ("c", "directory"), ("d", "No such")):
        with pytest.raises(DataError, match=rf"{name}.xml: .*{words}"):
            read_annotation(tmp_path / f"{name}.xml", root=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_xml_in_another_encoding_is_read_or_refused_in_words(tmp_path, encoding):
    text = "<annotation><object><name>hühner</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
    (tmp_path / "a.xml").write_bytes((text + "</bndbox></object></annotation>").encode(encoding))
    if encoding == "latin-1":  # without saying so, it is UTF-8, which this is not
        with pytest.raises(DataError, match="a.xml, line 1"):
            read_annotation(tmp_path / "a.xml", root=tmp_path)
        return
    assert [box.label for box in read_annotation(tmp_path / "a.xml", root=tmp_path).boxes] == ["hühner"]


def test_xml_that_is_nested_deeply_is_no_annotation(tmp_path):
    (tmp_path / "a.xml").write_text("<a>" * 200_000 + "</a>" * 200_000)
    with pytest.raises(DataError, match="root"):
        read_annotation(tmp_path / "a.xml", root=tmp_path)


@pytest.mark.parametrize("name", ["\x1b[2J", "dog\ncat", "&#27;[31mdog", "&#x202e;god", "x" * 300])
def test_a_class_that_steers_the_terminal_is_refused(tmp_path, name, xml_file):
    with pytest.raises(SmoothIoUError) as caught:
        read_annotation(xml_file(tmp_path / "a.xml", [(name, (1, 1, 9, 9))]), root=tmp_path)
    assert printable(str(caught.value).replace("\n", " "))
    assert "a.xml" in str(caught.value)


# ---- names and links that lead away


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


# ---- images


def png_of(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8193, 8192), (100_000, 1000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_of(*size))
    for read in (image_size, read_image):
        with pytest.raises(DataError, match=r"a.png: .*(pixels|limit|could be)"):
            read(tmp_path / "a.png")


def test_the_settings_allow_more_or_fewer_pixels(tmp_path, make_voc):
    (tmp_path / "a.png").write_bytes(png_of(8193, 8192))
    with allowing(Limits(pixels=8193 * 8192)):
        assert image_size(tmp_path / "a.png") == (8193, 8192)
    root = make_voc({"train": {"a": [("dog", (1, 1, 9, 9))]}})
    with pytest.raises(DataError, match="100 x 80 .*--data.max_pixels 8000"):
        load_dataset(root, max_pixels=7999)
    dataset = load_dataset(root, max_pixels=8000)
    Image.new("RGB", (101, 80)).save(root / "JPEGImages" / "a.jpg")  # it grew after it was read
    with pytest.raises(DataError, match="8,000"):
        dataset.records[0].source.read()


def test_a_type_of_image_that_starts_other_programs_is_not_opened(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    for read in (image_size, read_image):
        with pytest.raises(DataError, match="a.jpg"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "socket-like"])
def test_things_named_like_images_are_refused_and_never_hang(tmp_path, what):
    path = tmp_path / "a.jpg"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else "/dev/tty")
    finder = ImageFinder(tmp_path, [tmp_path])
    assert finder.by_path("a.jpg", where="") is None
    for read in (image_size, read_image):
        with pytest.raises(DataError, match="a.jpg"):
            read(path)


def test_broken_images_raise_one_kind_of_error_whatever_the_decoder_meets(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for error in (struct.error("x"), IndexError(), TypeError("x"), MemoryError(), AssertionError()):
        monkeypatch.setattr(Image.Image, "convert", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(DataError, match="a.png"):
            read_image(tmp_path / "a.png")


# ---- JSON


def coco_file(tmp_path, text: str | bytes):
    file = tmp_path / "train.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


GOOD = '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "dog"}], "annotations": [%s]}'
BOX = '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, %s]}'


def all_of(file):
    return [box for entry in Coco(file).entries("train") for box in entry.boxes]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("\xff\xfe{", "JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"images": [], "images": []}', "'images' twice"),
        (GOOD % ("9" * 5000), "JSON"),
        (GOOD % (BOX % '"4"'), '"bbox"'),
        (GOOD % (BOX % "true"), '"bbox"'),
        (GOOD % (BOX % "null"), '"bbox"'),
        (GOOD % (BOX % "[[[[[[[[[[[1]]]]]]]]]]]"), '"bbox"'),
        (GOOD % (BOX % '4], "bbox": [1, 2, 3, 4'), "'bbox' twice"),
        (GOOD % BOX.replace("1, ", "true, ", 1) % "4", '"id"'),
        (GOOD % BOX.replace("1, ", "NaN, ", 1) % "4", '"id"'),
        (GOOD.replace('"dog"', "null") % "", '"name"'),
        (GOOD.replace('"dog"', "true") % "", '"name"'),
        (GOOD.replace('"dog"', '"\\u001b[2J"') % "", "control characters"),
        (GOOD.replace('"dog"', '"a\\nb"') % "", "control characters"),
        (GOOD.replace('"dog"', '"\\ud800"') % "", "control characters"),
        (GOOD.replace('"a.jpg"', "7") % "", '"file_name"'),
    ],
)
def test_json_that_means_harm_is_refused_with_its_place(tmp_path, text, words):
    with pytest.raises(DataError, match=words) as caught:
        all_of(coco_file(tmp_path, text.encode("latin-1") if "\xff" in text else text))
    assert "train.json" in str(caught.value)
    assert printable(str(caught.value))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 400])
def test_numbers_beyond_all_bounds_are_boxes_without_area(tmp_path, image_file, number):
    image_file(tmp_path / "a.jpg")
    coco_file(tmp_path, GOOD % (BOX % number))
    with pytest.raises(DataError, match="1 box"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, allow_dropped=1).counts()["dropped"] == 1


def test_every_depth_of_nesting_ends_in_words(tmp_path):
    # Where the reader of JSON still copes, what quotes it in a message may not.
    for depth in range(900, 1000, 7):
        with pytest.raises(DataError):
            all_of(coco_file(tmp_path, GOOD % (BOX % ("[" * depth + "]" * depth))))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_with_a_byte_order_mark_or_of_two_bytes_is_read(tmp_path, encoding):
    assert len(all_of(coco_file(tmp_path, (GOOD % (BOX % "4")).encode(encoding)))) == 1


def test_an_object_of_many_keys_and_one_twice_takes_no_time(tmp_path):
    keys = ", ".join(f'"{number}": 1' for number in range(100_000))
    start = time.process_time()
    with pytest.raises(DataError, match="key '5' twice"):
        read_json(coco_file(tmp_path, f'{{{keys}, "5": 2}}'))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("image", ['{"id": {}}', '{"id": []}', "{}", "7", '{"id": 1.5}', '{"id": true}'])
def test_an_image_id_that_is_no_id_is_named_where_only_boxes_are_read(tmp_path, image):
    file = coco_file(tmp_path, (GOOD % (BOX % "4")).replace('{"id": 1, "file_name": "a.jpg"}', image))
    with pytest.raises(DataError, match=r"train.json: images\[0\]"):
        read_box_list(file)


def test_a_gzipped_bomb_is_refused(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 2**28, 1))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"\n" * 2**22, 1))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x" * 2**22, 1))
    with pytest.raises(DataError, match="a.json.gz: .*unpacks"):
        read_box_list(tmp_path / "a.json.gz")
    with pytest.raises(DataError, match="a.csv.gz: .*1,000,000 lines"):
        read_labels(tmp_path / "a.csv.gz")
    with pytest.raises(DataError, match="b.csv.gz, line 1.*4,096"):
        read_labels(tmp_path / "b.csv.gz")


# ---- CSV and lists


def test_a_csv_of_more_lines_than_are_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("smoothiou.data.formats.udacity_table.MAX_LINES", 1000)
    row = "1,2,30,40,1478019952686311006.jpg,car,x\n"
    (tmp_path / "a.csv").write_text(row * 1000)
    assert sum(map(len, read_labels(tmp_path / "a.csv").boxes.values())) == 1000
    (tmp_path / "b.csv").write_text(row * 1001)
    with pytest.raises(DataError, match="1,000 lines"):
        read_labels(tmp_path / "b.csv")
    assert MAX_LINES == 1_000_000


def test_only_the_first_row_is_read_to_tell_a_label_file(tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(b"1,2,30,40,a.jpg,car,x\n")
        file.truncate(2**40)
    assert is_label_file(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(b"")
    assert not is_label_file(tmp_path / "b.csv")
    assert not is_label_file(tmp_path / "c.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_kind_of_line_end_and_a_byte_order_mark_are_read(tmp_path, end, encoding):
    text = end.join(["", "1,2,30,40,a.jpg,car,x", "", "1,2,30,40,b.jpg,car,x", ""])
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert list(read_labels(tmp_path / "a.csv").boxes) == ["a.jpg", "b.jpg"]


def test_a_csv_that_is_no_utf_8_or_names_a_class_that_steers_is_refused(tmp_path):
    for text in (b"1,2,3,4,a.jpg,c\xe4r,x\n", "1,2,3,4,a.jpg,car,x\n".encode("utf-16"), b"1,2,3,4,a.jpg,\x1b[2J,x\n"):
        (tmp_path / "a.csv").write_bytes(text)
        with pytest.raises(DataError, match="a.csv") as caught:
            read_labels(tmp_path / "a.csv")
        assert printable(str(caught.value))


def test_a_list_of_blanks_takes_no_time(tmp_path):
    # A search for blanks before a number at the end of a line would try each blank as the first.
    (tmp_path / "a.txt").write_text("a" + " " * 10**6 + "b\n")
    start = time.process_time()
    with pytest.raises(DataError, match="line 1"):
        read_list(tmp_path / "a.txt")
    assert time.process_time() - start < 2
