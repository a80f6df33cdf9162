"""Files of strangers: regular ones only, up to a size, and words that steer nothing."""

from __future__ import annotations

import gzip
import os
import zlib

import pytest

from smoothiou.errors import DataError
from smoothiou.files import (
    MAX_NAME,
    Limits,
    allowing,
    check_word,
    first_line,
    is_inside,
    limits,
    open_regular,
    printable,
    read_bytes,
    real_folder,
    refuse_links_out,
    short,
    unpack,
    visible,
)


def test_a_pipe_a_device_and_a_folder_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")  # and this would never end
    for name, words in (("pipe", "a pipe"), ("folder", "directory"), ("link", "a device"), ("a\0b", "null")):
        with pytest.raises(OSError, match=words):
            open_regular(tmp_path / name)


def test_a_file_is_read_up_to_a_size(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", most=5) == b"12345"
    with pytest.raises(OSError, match="5 bytes"):
        read_bytes(tmp_path / "a", most=4)
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**40)  # a terabyte that takes no room on the disk
    with pytest.raises(OSError, match="1,000"):
        read_bytes(tmp_path / "hole", most=1000)


def test_what_is_packed_is_unpacked_up_to_a_ratio_and_a_size():
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0", "f", most=9) == b"ab"
    with pytest.raises(OSError, match="8 bytes"):
        unpack(gzip.compress(b"123456789"), "f", most=8)
    bomb = gzip.compress(b" " * 2**25)
    assert len(bomb) < 2**16
    with pytest.raises(OSError, match="16,777,216"):
        unpack(bomb, "f", most=2**31)
    with pytest.raises(EOFError):
        unpack(gzip.compress(b"123456789")[:-9], "f", most=100)
    with pytest.raises(zlib.error):
        unpack(b"not packed", "f", most=100)


def test_a_link_that_leads_out_is_found_wherever_it_stands(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "a").touch()
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "b").touch()
    (data / "file").symlink_to(tmp_path / "away" / "a")
    (data / "folder").symlink_to(tmp_path / "away")
    (data / "near").symlink_to(data / "sub" / "b")
    (tmp_path / "linked").symlink_to(data)
    (tmp_path / "data2").mkdir()
    for root in (data, tmp_path / "linked"):
        for name, inside in (("sub/b", True), ("near", True), ("file", False), ("folder/a", False), ("folder", False)):
            assert is_inside(root / name, (real_folder(root),)) is inside
        with pytest.raises(DataError, match=r"list: .*link .*away/a"):
            refuse_links_out(root / "file", root=root, where="list")
        with allowing(Limits(links=True)):
            assert refuse_links_out(root / "file", root=root, where="list") == root / "file"
    assert not is_inside(tmp_path / "data2" / "x", (real_folder(data),))


def test_limits_hold_inside_their_block_only():
    usual = limits()
    with allowing(Limits(pixels=1)):
        assert limits().pixels == 1
    assert limits() == usual


def test_words_that_steer_a_terminal_are_spelt_out():
    assert visible("a\x1b[2Jb\rc\u202ed\x9be") == r"a\x1b[2Jb\rc\u202ed\x9be"
    assert visible("a\nb", allowed="\n") == "a\nb"
    assert visible("Rechtschreibprüfung 車 🚗 שלום") == "Rechtschreibprüfung 車 🚗 שלום"
    assert printable("two words")
    assert not printable("two\nlines")
    assert not printable("half\ud800")


def test_a_reason_that_a_library_gives_is_one_line_without_escape_codes():
    assert first_line(RuntimeError("\x1b[1mweights only\x1b[0m\nsecond")) == r"\x1b[1mweights only\x1b[0m"
    assert first_line(RuntimeError()) == "RuntimeError"


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202etxt.exe", "half \ud800", "bell\a", "a\0b"])
def test_names_that_steer_a_terminal_are_refused(name):
    with pytest.raises(DataError, match=r"a\.json.*class") as caught:
        check_word(name, what="class", where="a.json")
    assert printable(str(caught.value))
    assert check_word("Škoda 車 🚗", what="class", where="") == "Škoda 車 🚗"
    with pytest.raises(DataError, match="256"):
        check_word("x" * (MAX_NAME + 1), what="class", where="a.json")


@pytest.mark.slow
def test_a_value_of_any_size_and_depth_becomes_a_short_text():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, list(range(10**5)), {"a": deep}, 10**500):
        assert len(short(value)) < 400
    assert short([1, "a", None]) == "[1, 'a', None]"
