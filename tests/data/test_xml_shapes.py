"""XML of another shape: boxes elsewhere, twice or as text are named and never count as none."""

from __future__ import annotations

import pytest

from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.errors import DataError
from tests.data.folders import CORNERS, ONE


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


INNER = f"<bndbox>{CORNERS}</bndbox>"
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


def test_a_part_of_an_object_may_have_its_name_and_box(tmp_path, xml_file):
    """PASCAL's layout of persons: the parts' names and boxes are not the object's."""
    part = f"<part><name>head</name><bndbox>{CORNERS}</bndbox></part>"
    extra = f"<object><name>person</name><bndbox>{CORNERS}</bndbox>{part}</object>"
    boxes = read_annotation(xml_file(tmp_path / "a.xml", extra=extra), root=tmp_path).boxes
    assert [box.label for box in boxes] == ["person"]
