"""`compare --dry-run`: the checks of the real command, a time from this machine, and nothing in --out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothiou.files import read_json, write_json
from smoothiou.study import read_plan
from tests.study.conftest import result_of

from .conftest import TINY

WORDS = ("compare", "shapes", "--out", "STUDY", *TINY)


def finish(study: Path, gains: list[float]) -> None:
    """Leave results in which smooth-iou is ahead by these gains, one for each seed."""
    for cell in read_plan(study)["cells"]:
        home = study / "cells" / cell["id"]
        gain = gains[cell["seed"]] if cell["loss"] == "smooth-iou" and cell["seed"] < len(gains) else 0.0
        if cell["seed"] < len(gains):
            write_json(home / "result.json", result_of(cell, AP=0.4 + gain))
            (home / "done").write_text("")


def test_it_times_a_run_here_and_writes_nothing(smoothiou, tmp_path):
    dry = smoothiou(*WORDS, "--seeds", "0-3", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    output = json.loads(dry.stdout)
    assert output["estimate"]["seconds"] == pytest.approx(8 * output["estimate"]["run_seconds"])
    assert 0 < output["estimate"]["run_seconds"] < 120
    assert "timed here" in output["estimate"]["basis"]
    assert output["power"]["AP"] is None
    assert "unknown spread" in output["power"]["sentence"]
    assert list(tmp_path.iterdir()) == []
    people = smoothiou(*WORDS, "--seeds", "0-3", "--dry-run", "--jobs", "2").stdout
    assert "8 of 8 cells to run" in people
    assert "as each of 2 jobs has" in people


@pytest.mark.parametrize(
    ("words", "noun", "code"),
    [
        (("--losses", "huber,my.module:Loss"), "my.module", 2),
        (("--weights", "nowhere.ckpt"), "nowhere.ckpt", 4),
        (("--device", "cuda:77"), "device", 2),
        (("--data.allow_dropped", "0", "--data.val", "vall"), "vall", 3),
        (("--resplit", "--data.val", "test"), "--resplit", 2),
        (("--margin", "0"), "--margin", 2),
    ],
)
def test_what_the_command_would_refuse_is_refused(smoothiou, tmp_path, words, noun, code):
    refused = smoothiou(*WORDS, *words, "--dry-run")
    assert refused.returncode == code, refused.stderr
    assert noun in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_study_in_the_folder_is_continued_or_refused_as_it_would_be(smoothiou, tmp_path, monkeypatch):
    from smoothiou import study

    monkeypatch.setattr(study, "train_cell", lambda cell, home, quiet: None)  # leaves no result
    assert smoothiou(*WORDS, "--seeds", "0,1,2", "--margin", "1").returncode == 5
    finish(tmp_path / "STUDY", [0.01, 0.03, 0.02])
    before = {path: path.read_bytes() for path in (tmp_path / "STUDY").rglob("*") if path.is_file()}
    again = smoothiou(*WORDS, "--seeds", "0-5", "--dry-run", "--json")
    assert again.returncode == 0, again.stderr
    output = json.loads(again.stdout)
    assert (output["estimate"]["done"], output["estimate"]["to_run"]) == (6, 6)
    assert output["estimate"]["run_seconds"] == 100.0  # as its finished cells had
    assert output["power"]["sd"] == pytest.approx(0.01)  # the spread of its own three seeds
    assert output["power"]["AP"] > 0
    assert "extended by seeds 3, 4, 5" in again.stderr
    for words, noun in (
        (("--train.flip", "0.25"), "train.flip"), (("--margin", "2"), "--margin"), (("--until", "1"), "--until"),
        (("--resplit",), "resplit"),
    ):  # fmt: skip
        refused = smoothiou(*WORDS, *words, "--dry-run")
        assert refused.returncode == 2
        assert noun in refused.stderr
    anew = json.loads(smoothiou(*WORDS, "--train.flip", "0", "--overwrite", "--dry-run", "--json").stdout)
    assert anew["estimate"]["done"] == 0
    after = {path: path.read_bytes() for path in (tmp_path / "STUDY").rglob("*") if path.is_file()}
    assert after == before
    (tmp_path / "NOTES").mkdir()
    (tmp_path / "NOTES" / "thesis.tex").write_text("x")
    assert "thesis.tex" in smoothiou("compare", "shapes", "--out", "NOTES", *TINY, "--dry-run").stderr


def test_a_rule_gets_the_seeds_it_will_need(smoothiou, tmp_path, monkeypatch):
    from smoothiou import study

    monkeypatch.setattr(study, "train_cell", lambda cell, home, quiet: None)
    words = (*WORDS, "--until", "1")
    assert smoothiou(*words).returncode == 5
    finish(tmp_path / "STUDY", [0.01, 0.03, 0.02, 0.02, 0.02])
    output = json.loads(smoothiou(*words, "--dry-run", "--json").stdout)
    assert 5 <= output["power"]["until_seeds"] < 20
    assert read_json(tmp_path / "STUDY" / "plan.json")["seeds"] == [0, 1, 2, 3, 4]
