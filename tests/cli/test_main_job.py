"""The main job through the command line: train, resume, evaluate, predict, compare, report."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from smoothiou.engine.checkpoint import load_checkpoint

from .conftest import TINY
from .processes import Command, run_command


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_one_run_leaves_everything_and_the_same_command_again_does_nothing(smoothiou, tmp_path):
    result = smoothiou("train", "shapes", "--loss", "smooth-iou", "--out", "RUN", *TINY)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "RUN"
    run = tmp_path / "RUN"
    names = {"config.toml", "manifest.json", "metrics.csv", "last.ckpt", "predictions.json", "localization.json"}
    assert names | {"result.json", "done"} <= set(os.listdir(run))
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["roi_lambda"]) <= 1 for row in rows)
    before = (run / "result.json").stat().st_mtime_ns
    again = smoothiou("train", "shapes", "--loss", "smooth-iou", "--out", "RUN", "--json", *TINY)
    assert json.loads(again.stdout)["hash"] == json.loads((run / "result.json").read_text())["hash"]
    assert (run / "result.json").stat().st_mtime_ns == before

    other = smoothiou("train", "shapes", "--loss", "huber", "--out", "RUN", *TINY)
    assert other.returncode == 2
    assert "loss.name" in other.stderr

    evaluated = json.loads(smoothiou("eval", "RUN", "--json").stdout)
    assert evaluated["metrics"] == json.loads((run / "result.json").read_text())["metrics"]
    assert smoothiou("eval", "RUN", "--split", "val").returncode == 0

    Image.new("RGB", (50, 40), "white").save(tmp_path / "a.png")
    found = json.loads(smoothiou("predict", "RUN", "a.png", "--score", "0", "--json").stdout)["images"]
    assert all(box["label"] in {"circle", "rectangle", "triangle", "ring", "cross"} for box in found[0]["boxes"])
    with Image.open(tmp_path / found[0]["picture"]) as picture:
        assert picture.size == (50, 40)
    two = smoothiou("predict", "RUN", "a.png", "a.png", "--score", "0", "--json")
    assert [one["boxes"] for one in json.loads(two.stdout)["images"]] == [found[0]["boxes"]] * 2
    read = smoothiou("predict", "RUN", "a.png", "--score", "0", "--tile", "40", "--out", "boxes")
    assert read.stdout == "boxes\n"
    assert "1 image" in read.stderr
    for words in (("RUN",), ("RUN", "a.png", "--score", "2"), ("RUN", "a.png", "--score", "high")):
        assert smoothiou("predict", *words).returncode == 2


def test_a_finished_run_is_trained_longer_where_that_is_asked_for(smoothiou, tmp_path):
    words = [*TINY, "--loss", "huber", "--out", "RUN"]
    assert smoothiou("train", "shapes", *words).returncode == 0
    first = json.loads((tmp_path / "RUN" / "result.json").read_text())
    words[words.index("--steps") + 1] = "4"
    assert smoothiou("train", "shapes", *words).returncode == 2  # another run, unless it is to be continued
    other = smoothiou("train", "shapes", *words, "--continue", "--optim.lr", "0.5")
    assert (other.returncode, "optim.lr" in other.stderr) == (2, True)

    longer = smoothiou("train", "shapes", *words, "--continue")
    assert longer.returncode == 0, longer.stderr
    assert "schedule" in longer.stderr
    assert [row["step"] for row in rows_of(tmp_path / "RUN")] == ["1", "2", "3", "4"]
    result = json.loads((tmp_path / "RUN" / "result.json").read_text())
    assert (result["continued_from"], "continued_from" in first) == ([2], False)
    at_once = [*words[:-1], "ONCE"]
    assert smoothiou("train", "shapes", *at_once).returncode == 0
    assert json.loads((tmp_path / "ONCE" / "result.json").read_text())["hash"] != result["hash"]
    # The same command again does nothing, with and without the option.
    for again in (words, [*words, "--continue"]):
        assert "done before" in smoothiou("train", "shapes", *again).stderr


def test_diagnostics_are_a_page_and_numbers(smoothiou, tmp_path):
    assert smoothiou("train", "shapes", "--loss", "huber", "--out", "RUN", *TINY).returncode == 0
    result = json.loads((tmp_path / "RUN" / "result.json").read_text())
    assert result["best_scores"]["chosen_on"] == "val"
    page = smoothiou("eval", "RUN", "--html")
    assert page.returncode == 0, page.stderr
    assert page.stdout.strip() == "RUN/diagnostics.html"
    numbers = json.loads((tmp_path / "RUN" / "diagnostics.json").read_text())
    assert len(numbers["confusion"]) == len(numbers["classes"]) + 1
    assert numbers["best_scores"] == result["best_scores"]  # those of the run, not chosen anew on its test images
    assert smoothiou("predict", "RUN", "--score", "best", "missing.png").returncode == 3


def test_a_run_that_was_stopped_continues_to_the_same_weights_and_numbers(tmp_path):
    words = [*TINY, "--loss", "smooth-iou"]
    words[words.index("--steps") + 1] = "8"
    whole = run_command(tmp_path, "train", "shapes", "--out", "WHOLE", *words)
    assert whole.status == 0, whole.stderr

    stopped = Command(tmp_path, "train", "shapes", "--out", "STOPPED", *words)
    metrics = tmp_path / "STOPPED" / "metrics.csv"
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert stopped.status is None, stopped.stderr
        time.sleep(0.01)
    stopped.signal_group(signal.SIGTERM)
    assert stopped.wait(60) == 130, stopped.stderr
    assert "same command again" in stopped.stderr
    assert 2 <= load_checkpoint(tmp_path / "STOPPED" / "last.ckpt")["step"] < 8

    continued = run_command(tmp_path, "train", "shapes", "--out", "STOPPED", *words)
    assert continued.status == 0, continued.stderr
    first, second = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("WHOLE", "STOPPED"))
    assert all((first["model"][key] == second["model"][key]).all() for key in first["model"])
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("WHOLE", "STOPPED")]
    for key in ("metrics", "localization", "hash", "signature"):
        assert results[0][key] == results[1][key]
    columns = ("step", "loss", "lr", "roi_lambda", "grad_norm")
    traces = [[[row[c] for c in columns] for row in rows_of(tmp_path / name)] for name in ("WHOLE", "STOPPED")]
    assert traces[0] == traces[1]


@pytest.mark.slow
def test_a_study_runs_grows_is_redrawn_without_torch_and_refuses_another_plan(smoothiou, tmp_path):
    words = ["compare", "shapes", "--losses", "huber,smooth-iou", "--out", "STUDY", *TINY]
    dry = smoothiou(*words, "--seeds", "0", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "STUDY").exists()
    first = smoothiou(*words, "--seeds", "0")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "STUDY/report.html"
    assert "no interval" in first.stderr or "one seed" in first.stderr.lower()

    grown = smoothiou(*words, "--seeds", "0,1", "--jobs", "2", "--json")
    assert grown.returncode == 0, grown.stderr
    content = json.loads(grown.stdout)
    assert {d["metric"] for d in content["differences"]} >= {"AP", "mean_iou"}
    assert "4 cells" in grown.stderr
    page = (tmp_path / "STUDY" / "report.html").read_text()
    for name in ("report.md", "tables.tex", "results.csv", "results.json", "truth.json", "comparison.json"):
        assert (tmp_path / "STUDY" / name).is_file(), name

    # The same seed gives both losses the same first batch: before the first update they see the same classifier loss.
    rows = [rows_of(tmp_path / "STUDY" / "cells" / f"{loss}-seed0")[0] for loss in ("huber", "smooth-iou")]
    assert rows[0]["loss_classifier"] == rows[1]["loss_classifier"]
    assert rows[0]["loss_box_reg"] != rows[1]["loss_box_reg"]

    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "torch.py").write_text("raise ImportError('the report must not need torch')")
    drawn = smoothiou("report", "STUDY", PYTHONPATH=str(tmp_path / "blocked"))
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "STUDY" / "report.html").read_text() == page

    refused = smoothiou(*words, "--seeds", "0", "--optim.lr", "0.5")
    assert refused.returncode == 2
    assert "optim.lr" in refused.stderr


def test_a_cell_that_fails_does_not_stop_the_others_and_is_shown(smoothiou, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def explode(pred, target, *, weights, anchors):\n"
        "    if len(pred) > 2:\n        raise RuntimeError('no such luck')\n    return pred.sum(1)\n"
    )
    result = smoothiou("compare", "shapes", "--losses", "huber,mine:explode", "--seeds", "0", "--out", "STUDY", *TINY)
    assert result.returncode == 5
    assert "no such luck" in result.stderr
    assert "no such luck" in (tmp_path / "STUDY" / "report.html").read_text()
    assert (tmp_path / "STUDY" / "cells" / "huber-seed0" / "done").is_file()


@pytest.mark.parametrize(
    ("body", "said"),
    [("return pred.mean()", "one loss per positive box"), ("raise KeyError('k')", "2 boxes")],
)
def test_a_loss_of_ones_own_that_is_wrong_is_met_before_anything_is_trained(smoothiou, tmp_path, body, said):
    (tmp_path / "mine.py").write_text(f"def mine(pred, target, *, weights, anchors):\n    {body}\n")
    result = smoothiou("compare", "shapes", "--losses", "huber,mine:mine", "--seeds", "0", "--out", "STUDY", *TINY)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert not (tmp_path / "STUDY").exists()


def test_a_loss_that_becomes_infinite_stops_the_run_and_names_the_images(smoothiou, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def infinite(pred, target, *, weights, anchors):\n    return pred.sum(1) / 0.0\n"
    )
    result = smoothiou("train", "shapes", "--loss", "mine:infinite", "--out", "RUN", *TINY)
    assert result.returncode == 1
    assert "diverged at step 1" in result.stderr
    assert "images: " in result.stderr
    assert not (tmp_path / "RUN" / "last.ckpt").exists()
