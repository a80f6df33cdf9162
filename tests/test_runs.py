"""Files: whole or not at all, and words where that fails."""

from __future__ import annotations

import json
import os

import pytest

from smoothiou import runs
from smoothiou.errors import ConfigError, DataError, SmoothIoUError


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    runs.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [None, 1.5]}


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    runs.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SmoothIoUError, match="No space left on device") as error:
        runs.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    assert "--out" in error.value.hint


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SmoothIoUError, match="cannot be written"):
        runs.write_text(tmp_path / "file" / "below", "x")


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        runs.read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad.json: not readable as JSON"):
        runs.read_json(tmp_path / "bad.json")


def test_a_folder_of_another_plan_is_refused_with_the_differing_keys(tmp_path):
    runs.refuse_other_plan(tmp_path, {"a": 1}, {"a": 1}, what="study")
    with pytest.raises(ConfigError, match=r"b: None there, 2 asked for"):
        runs.refuse_other_plan(tmp_path, {"a": 1}, {"a": 1, "b": 2}, what="study")


def test_equal_content_has_an_equal_digest_whatever_its_order():
    assert runs.digest({"a": 1, "b": [2]}) == runs.digest({"b": [2], "a": 1})
    assert runs.digest({"a": 1}) != runs.digest({"a": 2})
