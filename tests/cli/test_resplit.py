"""`compare --resplit`: each seed cuts train and val anew, all losses of a seed alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothiou import study
from smoothiou.engine.config import RunConfig
from smoothiou.engine.identity import cell_hash
from smoothiou.engine.open_data import describe_data, open_splits
from smoothiou.files import read_json, write_json
from smoothiou.study import comparison
from tests.study.conftest import result_of

from .conftest import TINY

WORDS = ("compare", "shapes", "--out", "STUDY", "--resplit", *TINY)


@pytest.fixture
def without_training(monkeypatch) -> None:
    """Cells end at once, with the hash of the data that a training would have opened."""

    def train(cell, home: Path, *, quiet: bool = False) -> None:
        config = RunConfig().replace(cell["settings"])
        hash_ = cell_hash(config.flat(), describe_data(open_splits(config.data)))
        gain = 0.01 * (cell["loss"] == "smooth-iou") + 0.0001 * cell["seed"] ** 2 * (cell["loss"] == "huber")
        write_json(home / "result.json", {**result_of(cell, AP=0.4 + gain), "hash": hash_})
        (home / "done").write_text("")

    monkeypatch.setattr(study, "train_cell", train)
    monkeypatch.setattr(comparison, "compare_cells", lambda folder, plan: None)


def test_losses_of_a_seed_share_the_cut_which_plan_and_page_name(smoothiou, without_training, tmp_path):
    result = smoothiou(*WORDS, "--seeds", "0,7")
    assert result.returncode == 0, result.stderr  # so the plan's hashes are those of the data that was opened
    assert "cuts train and val anew (12 and 2 images)" in result.stderr
    plan = read_json(tmp_path / "STUDY" / "plan.json")
    assert plan["cuts"].keys() == {"0", "7"}
    assert plan["cuts"]["0"] != plan["cuts"]["7"]
    page = (tmp_path / "STUDY" / "report.html").read_text()
    assert "the choice of training images is part of" in page
    assert "Runs differ in loss and seed alone" in page


def test_a_cell_is_the_same_run_alone_from_its_own_folder(smoothiou, tmp_path):
    settings = ("--data.resplit", "7", "--seed", "7", "--loss", "huber", *TINY)
    assert smoothiou("train", "shapes", "--out", "CELL", *settings).returncode == 0
    assert smoothiou("train", "--recipe", "CELL/config.toml", "--out", "ALONE").returncode == 0
    cell, alone = tmp_path / "CELL", tmp_path / "ALONE"
    assert (alone / "predictions.json").read_bytes() == (cell / "predictions.json").read_bytes()
    assert read_json(alone / "result.json")["hash"] == read_json(cell / "result.json")["hash"]
    data = read_json(alone / "manifest.json")["data"]
    assert "cut anew by seed 7" in " ".join(data["train"]["notes"])
    shipped = describe_data(
        open_splits(RunConfig().replace({"data.path": "shapes", "data.images": 12, "data.size": 64}).data)
    )
    same = {split: data[split]["fingerprint"] == shipped[split]["fingerprint"] for split in data}
    assert same == {"train": False, "val": False, "test": True}


@pytest.mark.slow
def test_a_study_grows_with_the_same_cuts_and_only_with_them(smoothiou, without_training, tmp_path):
    assert smoothiou(*WORDS, "--seeds", "0-2").returncode == 0
    before = read_json(tmp_path / "STUDY" / "plan.json")["cuts"]
    again = [word for word in WORDS if word != "--resplit"]
    refused = smoothiou(*again, "--seeds", "0-3")
    assert refused.returncode == 2
    assert "--resplit" in refused.stderr
    assert smoothiou(*WORDS, "--seeds", "2-4").returncode == 0
    grown = read_json(tmp_path / "STUDY" / "plan.json")
    assert (grown["seeds"], grown["cuts"].keys()) == ([0, 1, 2, 3, 4], {"0", "1", "2", "3", "4"})
    assert before.items() <= grown["cuts"].items()
    assert all(cell["status"] == "done" for cell in read_json(tmp_path / "STUDY" / "results.json")["cells"])


def test_a_study_with_the_shipped_cut_takes_no_other_later(smoothiou, without_training):
    assert smoothiou(*(word for word in WORDS if word != "--resplit")).returncode == 0
    refused = smoothiou(*WORDS)
    assert refused.returncode == 2
    assert "resplit" in refused.stderr


def test_seeds_that_a_rule_adds_cut_anew_too(smoothiou, without_training, tmp_path):
    result = smoothiou(*WORDS, "--until", "0.1", "--most-seeds", "7", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["until"]["why"] == "most seeds"
    plan = read_json(tmp_path / "STUDY" / "plan.json")
    assert len(plan["cuts"]) == len(plan["seeds"]) == 7
    assert [cell["settings"]["data.resplit"] for cell in plan["cells"]] == [cell["seed"] for cell in plan["cells"]]


@pytest.mark.slow
def test_several_jobs_train_the_same_cells(smoothiou_process, tmp_path):
    for jobs, name in ((1, "ONE"), (2, "TWO")):
        result = smoothiou_process(
            "compare", "shapes", "--out", name, "--resplit", *TINY, "--seeds", 3, "--jobs", jobs, OMP_NUM_THREADS="1"
        )
        assert result.returncode == 0, result.stderr
    one, two = (tmp_path / name / "cells" / "huber-seed3" / "predictions.json" for name in ("ONE", "TWO"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        (("--data.val", "test"), "different images"),
        (("--data.val", "train"), "different images"),
        (("--data.loose", "0.1"), "data.loose"),
        (("--data.resplit", "3"), "data.resplit"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_is_written(smoothiou, tmp_path, words, noun):
    refused = smoothiou(*WORDS, *words)
    assert refused.returncode == 2, refused.stderr
    assert noun in refused.stderr
    assert not (tmp_path / "STUDY").exists()
