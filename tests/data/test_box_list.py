"""The boxes of an annotation file alone."""

from __future__ import annotations

import gzip
import json

import pytest

from smoothiou.data.box_list import read_box_list
from smoothiou.errors import DataError

COCO = {
    "images": [{"id": 1, "file_name": "nowhere.jpg", "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 0, 5]},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 80], "iscrowd": 1},
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "ignore": 1},
    ],
}


@pytest.mark.parametrize("ending", ["json", "json.gz"])
def test_coco_files_need_no_image(tmp_path, ending):
    file = tmp_path / f"labels.{ending}"
    content = json.dumps(COCO).encode()
    file.write_bytes(gzip.compress(content, mtime=0) if ending.endswith("gz") else content)
    found = read_box_list(file)
    assert found.boxes == ((10, 20, 40, 60), (1, 2, 4, 6))
    assert found.left_out == 2
    assert found.name == f"labels.{ending}"


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_udacity_files_need_no_image(tmp_path, ending):
    text = "xmin,ymin,xmax,ymax,Frame,Label,Preview URL\n1,2,30,40,a.jpg,Car,\n5,6,7,9,a.jpg,Truck,\n"
    file = tmp_path / f"labels.{ending}"
    file.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    assert read_box_list(file).boxes == ((1, 2, 30, 40), (5, 6, 7, 9))


def test_data_sets_are_read_as_ever():
    found = read_box_list("shapes")
    assert found.name == "shapes"
    assert len(found.boxes) > 100


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.json", None, "missing.json"),
        ("missing.json.gz", None, "missing.json.gz"),
        ("missing.csv", None, "missing.csv"),
        ("missing", None, "missing.*folder"),
        ("broken.json", b"{", "broken.json, line 1"),
        ("broken.json.gz", b"not gzip", "gzipped"),
        ("list.json.gz", gzip.compress(b"[]", mtime=0), '"images"'),
        (
            "none.json",
            json.dumps({**COCO, "annotations": COCO["annotations"][1:2]}).encode(),
            "area",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_box_list(file)


def test_real_files(shared_data):
    voc = read_box_list(shared_data / "voc_annotations_full" / "pascal_train2007.json.gz")
    assert (len(voc.boxes), voc.left_out) == (7844, 0)
    crowdai = read_box_list(shared_data / "udacity" / "labels_crowdai.csv.gz")
    assert (len(crowdai.boxes), crowdai.left_out) == (72060, 4)
