"""`smoothiou probe` as users run it: runs against each other, and the ranking of losses on one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import TINY, run_here

REFIT = ("--steps", "6", "--batch", "16", "--boxes", "150")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with two tiny runs, RUN-A and RUN-B, and one of other data."""
    folder = tmp_path_factory.mktemp("home")
    for name, loss, images in (("RUN-A", "huber", "12"), ("RUN-B", "iou", "12"), ("OTHER", "huber", "15")):
        words = [*TINY, "--loss", loss, "--out", name, "--quiet"]
        words[1] = images
        assert run_here(folder, "train", "shapes", *words).returncode == 0
    return folder


@pytest.fixture
def at_home(home, tmp_path, smoothiou):
    """Run the command in a folder that holds copies of the runs."""
    for name in ("RUN-A", "RUN-B", "OTHER"):
        shutil.copytree(home / name, tmp_path / name)
    return smoothiou


def test_two_runs_are_compared_in_a_table_and_as_json(at_home, tmp_path):
    shown = at_home("probe", "RUN-A", "RUN-B")
    assert shown.returncode == 0, shown.stderr
    assert "iou minus huber" in shown.stdout
    assert "one seed proves nothing" in shown.stdout or "not distinguishable" in shown.stdout
    found = json.loads(at_home("probe", "RUN-A", "RUN-B", "--json", "--out", "PROBE").stdout)
    assert found["baseline"] == "huber"
    assert {run["folder"] for run in found["runs"]} == {"RUN-A", "RUN-B"}
    assert json.loads((tmp_path / "PROBE" / "probe.json").read_text())["groups"] == found["groups"]
    assert {path.name for path in (tmp_path / "PROBE").iterdir()} == {
        f"probe.{e}" for e in ("json", "csv", "tex", "html")
    }
    assert "IoU after, against IoU before" in (tmp_path / "PROBE" / "probe.html").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["NOWHERE"], 4, "NOWHERE"),
        (["RUN-A", "OTHER"], 3, "RUN-A on shapes/test and OTHER on shapes/test"),
        (["RUN-A", "--losses", "huber"], 2, "--losses"),
        (["RUN-A", "--overwrite"], 2, "--overwrite"),
        (["--refit"], 2, "--refit"),
        (["--refit", "RUN-A", "--split", "val"], 2, "--split"),
        (["--refit", "RUN-A", "--losses", "huber,smoth-iou"], 2, 'Did you mean "smooth-iou"'),
        (["--refit", "RUN-A", "--seeds", "x"], 2, "--seeds"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(home, words, code, said):
    result = run_here(home, "probe", *words)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_losses_are_ranked_on_one_run_and_the_same_command_again_does_nothing(at_home, tmp_path):
    words = ["probe", "--refit", "RUN-A", "--losses", "huber,iou", "--seeds", "0,1", *REFIT]
    first = at_home(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "RUN-A/refit/probe.html"
    assert "[4/4] iou seed 1  step 24/24" in first.stderr
    page = (tmp_path / "RUN-A" / "refit" / "probe.html").read_text()
    for words_there in ("How losses were ranked", "Test boxes", "huber", "change over the last tenth"):
        assert words_there in page
    cells = tmp_path / "RUN-A" / "refit" / "cells"
    before = {path: path.stat().st_mtime_ns for path in cells.rglob("*.json")}
    assert len(before) == 4
    again = at_home(*words, "--json")
    assert "crops" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in cells.rglob("*.json")} == before
    found = json.loads(again.stdout)
    assert [cell["curve"][0]["test"] for cell in found["cells"] if cell["seed"] == 0] == [
        found["cells"][0]["curve"][0]["test"]
    ] * 2
    other = at_home(*words[:-2], "--boxes", "160")
    assert other.returncode == 2
    assert "boxes: 150" in other.stderr


def test_a_loss_that_fails_ends_with_code_5_and_the_others_are_shown(at_home, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def infinite(pred, target, *, weights, anchors):\n    return pred.sum(1) / (0.0 if len(pred) > 2 else 1.0)\n"
    )
    result = at_home("probe", "--refit", "RUN-A", "--losses", "huber,mine:infinite", "--seeds", "0", *REFIT)
    assert result.returncode == 5
    assert "1 training has no result: mine:infinite seed 0" in result.stderr
    assert "mine:infinite" in (tmp_path / "RUN-A" / "refit" / "probe.html").read_text()


@pytest.mark.slow
def test_a_stopped_ranking_keeps_what_was_done_and_continues(at_home, tmp_path):
    words = [
        sys.executable, "-m", "smoothiou", "probe", "--refit", "RUN-A", "--losses", "huber,iou,giou",
        "--seeds", "0-9", "--steps", "40", "--batch", "16", "--boxes", "150", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    cells = tmp_path / "RUN-A" / "refit" / "cells"
    while len(list(cells.rglob("seed*.json"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "trainings are kept" in said
    assert "Give the same command again to continue" in said
    done = {path: path.stat().st_mtime_ns for path in cells.rglob("seed*.json")}
    assert 3 <= len(done) < 30
    words[words.index("0-9")] = "0,1"
    found = json.loads(subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert {(cell["loss"], cell["seed"]) for cell in found["cells"]} >= {
        (loss, seed) for loss in ("huber", "iou", "giou") for seed in (0, 1)
    }
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
