"""XML that means harm stops with its name, in little time and memory."""

from __future__ import annotations

import os

import pytest

from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.errors import DataError, SmoothIoUError
from smoothiou.files import printable

LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'
PARAMETER = '<!DOCTYPE l [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><annotation/>'


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
