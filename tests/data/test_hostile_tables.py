"""Tables and lists that mean harm stop with their name, in little time and memory."""

from __future__ import annotations

import os
import time

import pytest

from smoothiou.data.formats.udacity_table import MAX_LINES, is_label_file, read_labels
from smoothiou.data.splits import read_list
from smoothiou.errors import DataError
from smoothiou.files import printable


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
