"""One photo under two records is refused, and joined by the doctor."""

from __future__ import annotations

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.data.doctor.repair import repair
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING, coco, voc
from tests.data.folders import BOX, records


def check_refused_and_joined(root, copy):
    with pytest.raises(DataError, match="several annotations"):
        load_dataset(root)
    report = examine(root, training=TRAINING)
    assert report.finding("duplicate-name").count == 1
    repair(report, copy)
    assert len(records(copy)["001.jpg"].boxes) == 3


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
    check_refused_and_joined(root, tmp_path / "copy")


@pytest.mark.parametrize("link", [False, True])
def test_two_xml_files_of_one_photo_are_refused_and_joined_by_the_doctor(tmp_path, xml_file, link):
    root = voc(tmp_path / "voc")
    xml_file(root / "Annotations" / "001b.xml", [("dog", (60, 5, 91, 36))], file_name="001.jpg")
    if link:
        (root / "JPEGImages" / "001b.jpg").symlink_to("001.jpg")
    with (root / "ImageSets" / "Main" / "train.txt").open("a") as lines:
        lines.write("001b\n")
    check_refused_and_joined(root, tmp_path / "copy")
    assert examine(tmp_path / "copy", training=TRAINING).errors == 0
