"""JSON that means harm stops with its place, in little time and memory."""

from __future__ import annotations

import gzip
import time

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.box_list import read_box_list
from smoothiou.data.formats.coco import Coco
from smoothiou.data.formats.coco_json import read_json
from smoothiou.data.formats.udacity_table import read_labels
from smoothiou.errors import DataError
from smoothiou.files import printable


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
