"""XML of something else beside a data set, and among its annotations."""

from __future__ import annotations

import pytest

from smoothiou.data import detect_format, load_dataset
from smoothiou.data.doctor import examine
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING, coco
from tests.data.folders import names, two_folders, yolo


def test_an_xml_file_that_is_none_is_named(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annots", images="images")
    (root / "annots/z.xml").symlink_to("nothing.xml")
    with pytest.raises(DataError, match=r"z\.xml"):
        load_dataset(root)
    assert "annots/z.xml" in [
        e.where for e in examine(root, training=TRAINING).finding("unreadable-annotation").examples
    ]


@pytest.mark.parametrize(
    "content", ["<project/>", "<annotations><version>1.1</version></annotations>", "<project><unfinished>", ""]
)
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("coco", "project.xml"),
        ("coco", "annotations/annotations.xml"),
        ("yolo", "project.xml"),
        ("yolo", "labels/a.xml"),
        ("voc", "project.xml"),
    ],
)
def test_xml_of_something_else_leaves_a_data_set_readable(tmp_path, xml_file, image_file, kind, place, content):
    root = tmp_path / "set"
    if kind == "voc":
        two_folders(root, xml_file, image_file, xml="annotations", images="images")
    elif kind == "coco":
        coco(root)
    else:
        yolo(root, image_file)
    before = names(root)
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text(content)
    assert (detect_format(root), names(root)) == (kind, before)


def test_xml_of_something_else_among_annotations_is_named(tmp_path, xml_file, image_file):
    root = two_folders(tmp_path / "set", xml_file, image_file, xml="annotations", images="images")
    (root / "annotations/0.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match=r"annotations/0\.xml.*root"):
        load_dataset(root)
