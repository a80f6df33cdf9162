"""Files: whole or not at all, and words where that fails."""

from __future__ import annotations

import errno
import json
import os

import pytest

from smoothiou import files, manifest
from smoothiou.errors import ConfigError, DataError, SmoothIoUError


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [None, 1.5]}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SmoothIoUError, match="space") as error:
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    assert str(error.value).endswith(
        "; the file before it is untouched. "
        "Free some space or choose another place for it, then give the same command again."
    )
    with pytest.raises(SmoothIoUError) as error:
        files.write_text(tmp_path / "b.txt", "new")
    assert error.value.message.endswith(" MB free there).")


def test_the_file_before_can_be_kept_and_at_no_moment_is_there_none(tmp_path, monkeypatch):
    path, keep = tmp_path / "last", tmp_path / "previous"
    seen = []
    replace = os.replace

    def watched(*names):
        replace(*names)
        seen.append((path.read_text(), keep.read_text()))

    for text in ("1", "2", "3"):
        if text == "2":
            monkeypatch.setattr(os, "replace", watched)
        files.write_text(path, text) if text == "1" else files.write_bytes(path, text.encode(), backup=keep)
    assert seen == [("1", "1"), ("2", "1"), ("2", "2"), ("3", "2")]
    assert sorted(os.listdir(tmp_path)) == ["last", "previous"]

    # Killed after the first of the two renames, both names are one file's.
    keep.unlink()
    os.link(path, keep)
    files.write_bytes(path, b"4", backup=keep)
    assert (path.read_text(), keep.read_text(), sorted(os.listdir(tmp_path))) == ("4", "3", ["last", "previous"])

    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", no_links)
    files.write_bytes(path, b"5", backup=keep)
    assert (path.read_text(), keep.read_text(), sorted(os.listdir(tmp_path))) == ("5", "4", ["last", "previous"])


def test_content_and_name_are_on_the_disk_before_a_write_returns(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names)))
    files.write_text(tmp_path / "a.txt", "new")
    assert order == ["file", "rename", "folder"]


def test_an_interrupt_in_the_middle_of_a_write_leaves_no_rubbish(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "below"
    with pytest.raises(SmoothIoUError) as error:
        files.write_text(below, "x")
    assert str(error.value) == f"{below}: cannot be written: File exists. Choose another place for it."


def test_only_a_disk_without_room_is_said_to_need_some(tmp_path):
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        assert "Free some space" in files.unwritable(tmp_path, OSError(number, os.strerror(number))).hint
    for number in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EIO):
        said = files.unwritable(tmp_path, OSError(number, os.strerror(number)))
        assert str(said) == f"{tmp_path}: cannot be written: {os.strerror(number)}. Choose another place for it."


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(DataError, match="file"):
        files.read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json"):
        files.read_json(tmp_path / "bad.json")


def test_a_folder_of_another_plan_is_refused_with_the_differing_keys(tmp_path):
    manifest.refuse_other_plan(tmp_path, {"a": 1}, {"a": 1}, what="study")
    with pytest.raises(ConfigError, match="b: None"):
        manifest.refuse_other_plan(tmp_path, {"a": 1}, {"a": 1, "b": 2}, what="study")
    with pytest.raises(ConfigError) as error:
        manifest.refuse_other_plan(tmp_path, {"train.steps": 2}, {"train.steps": 4}, what="run")
    assert "--continue" in error.value.hint


def test_equal_content_has_an_equal_digest_whatever_its_order():
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})
