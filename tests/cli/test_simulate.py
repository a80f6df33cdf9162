"""`smoothiou simulate`, run as users run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from smoothiou.cli import main
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import parse_loss
from tests.data.test_box_list import COCO


@pytest.fixture
def boxes_file(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(COCO))
    return file


def test_a_simulation_leaves_a_page_and_is_not_computed_twice(smoothiou, boxes_file, tmp_path):
    words = ("simulate", "--losses", "giou,huber", "--cases", "343", "--boxes", boxes_file, "--out", "sim")
    first = smoothiou(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "sim/simulation.html"
    assert "[1/6] giou (published): " in first.stderr
    assert "giou on labels.json" in first.stderr
    assert "The paper's experiment" in first.stderr
    assert "Real boxes in the encoded frame" in first.stderr
    assert "errors are scaled to the paper's 1,715,000" in first.stderr
    page = (tmp_path / "sim" / "simulation.html").read_text()
    assert "giou-clamped, published code" in page
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"base64,[^\"]*", "", page))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    rows = (tmp_path / "sim" / "simulation.csv").read_text().splitlines()
    assert rows[0].startswith("kind,loss,gradients,speed,step,mean_error,mean_iou")
    assert len(rows) == 1 + 4 * 201 + 2 * 3 * 201

    again = smoothiou(*words, "--json")
    assert again.stderr.count("computed before") == 6
    found = json.loads(again.stdout)
    assert [one["computed"] for one in found["results"]] == [False] * 6
    assert [one["loss"] for one in found["results"]] == ["giou", "giou-clamped", "giou", "huber", "giou", "huber"]
    exact = next(one for one in found["results"] if one["loss"] == "huber" and one["kind"] == "regression")
    assert exact["mean_iou"][-1] > 0.99


def test_quiet_says_nothing(smoothiou):
    found = smoothiou("simulate", "--losses", "iou", "--gradients", "published", "--cases", "1", "--quiet")
    assert found.returncode == 0
    assert found.stderr == ""
    assert found.stdout.strip() == "runs/simulate/simulation.html"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--cases", "-5"), 2, "--cases: expected `full` or a whole number from 1 to 1,715,000"),
        (("--cases", "many"), 2, "--cases: expected `full`"),
        (("--losses", "gio"), 2, "No loss is called 'gio'"),
        (("--losses", "huber", "--gradients", "published"), 2, "the published code has no huber"),
        (("--seed", "-1"), 2, "--seed: expected 0 to 2**32 - 1"),
        (("--boxes", "nowhere.json"), 3, "nowhere.json"),
        (("--losses", "giou[power=2]"), 2, "power"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    few = () if "--cases" in words else ("--cases", "1")
    with pytest.raises(SystemExit) as left:
        main(["simulate", *few, *words])
    said = capsys.readouterr()
    assert left.value.code == code
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "runs").exists()


def test_interrupted_and_continued(tmp_path, smoothiou):
    words = ["simulate", "--losses", "iou,diou", "--gradients", "published", "--cases", "17150", "--out", "sim"]
    process = subprocess.Popen(
        [sys.executable, "-m", "smoothiou", *words],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "sim").glob("regression-iou-*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    # Either the second loss was cut short, or it was too fast for us: both leave the first one finished.
    assert process.returncode in (0, 130), said
    again = smoothiou(*words)
    assert again.returncode == 0, again.stderr
    assert "iou (published): computed before" in again.stderr


def test_all_stands_for_the_shelf():
    from smoothiou.lab.page_data import DEFAULT, _named, _published
    from smoothiou.losses.catalogue import CATALOGUE

    assert _named(None) == DEFAULT
    assert _named(("all",)) == tuple(CATALOGUE)
    assert _named(("giou", "all", "smooth-iou[lam=box]"))[0] == "giou"
    assert len(_named(("giou", "all", "smooth-iou[lam=box]"))) == len(CATALOGUE) + 1
    assert _published(None, "published") == ["iou", "giou", "giou-clamped", "diou", "ciou"]
    assert _published(("all",), "published") == ["iou", "giou", "giou-clamped", "diou", "ciou"]
    assert _published(("huber",), "both") == []
    with pytest.raises(ConfigError, match="no huber"):
        _published(("huber",), "published")
    assert all(parse_loss(loss)[0] in CATALOGUE for loss in DEFAULT)
