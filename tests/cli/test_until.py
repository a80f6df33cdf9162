"""`compare --until`: seeds are added until the difference is known. Trainings are made up, the rest is real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothiou import study
from smoothiou.files import read_json, write_json
from smoothiou.study import comparison
from tests.study.conftest import result_of

from .conftest import TINY


class Trainings:
    """Stands in for training: AP of smooth-iou is that of huber, plus an effect that swings from seed to seed."""

    def __init__(self, *, spread: float = 0.0, covariance: float = 0.0) -> None:
        self.spread, self.covariance, self.failing, self.trained = spread, covariance, set[str](), list[str]()

    def train(self, cell, home: Path, *, quiet: bool = False) -> None:
        if cell["id"] in self.failing:
            raise RuntimeError("no such luck")
        self.trained.append(cell["id"])
        swing = self.spread * (-1) ** cell["seed"] if cell["loss"] == "smooth-iou" else 0.0
        write_json(home / "result.json", result_of(cell, AP=0.4 + 0.001 * cell["seed"] + swing))
        (home / "done").write_text("")

    def compare(self, folder, plan) -> None:
        row = {"candidate": "smooth-iou", "metric": "AP", "covariance": self.covariance}
        write_json(Path(folder) / "comparison.json", {"covariances": [row], "images": 80})


@pytest.fixture
def trainings(monkeypatch) -> Trainings:
    made = Trainings()
    monkeypatch.setattr(study, "train_cell", made.train)
    monkeypatch.setattr(comparison, "compare_cells", made.compare)
    return made


@pytest.fixture
def compare(smoothiou, trainings):
    return lambda *words: smoothiou("compare", "shapes", "--out", "STUDY", *TINY, *words)


def seeds_of(tmp_path: Path) -> list[int]:
    return read_json(tmp_path / "STUDY" / "plan.json")["seeds"]


def test_it_begins_with_five_seeds_and_stops_where_the_difference_is_known(compare, trainings, tmp_path):
    trainings.spread = 0.0001
    result = compare("--until", "1")
    assert result.returncode == 0, result.stderr
    assert seeds_of(tmp_path) == [0, 1, 2, 3, 4]
    assert "known to +-1 AP points after 5 seeds" in result.stderr


@pytest.mark.slow
def test_it_adds_seeds_while_the_difference_is_too_wide_and_the_page_says_why_it_stopped(compare, trainings, tmp_path):
    trainings.spread = 0.01
    output = json.loads(compare("--until", "1", "--json").stdout)
    seeds = seeds_of(tmp_path)
    assert 5 < len(seeds) < 20
    assert output["until"]["why"] == "known"
    (ap,) = [row for row in output["differences"] if row["metric"] == "AP"]
    assert (ap["confidence"], ap["high"] - ap["low"] <= 0.02) == (0.975, True)
    for name in ("report.html", "report.md"):
        assert f"after {len(seeds)} seeds" in (tmp_path / "STUDY" / name).read_text()
    assert "97.5 %" in (tmp_path / "STUDY" / "report.html").read_text()
    before = len(trainings.trained)
    assert compare("--until", "1").returncode == 0
    assert (len(trainings.trained), seeds_of(tmp_path)) == (before, seeds)


def test_it_stops_at_the_most_seeds(compare, trainings, tmp_path):
    trainings.spread = 0.05
    output = json.loads(compare("--until", "1", "--most-seeds", "7", "--json").stdout)
    assert (output["until"]["why"], len(seeds_of(tmp_path))) == ("most seeds", 7)


def test_it_stops_where_only_more_images_can_help(compare, trainings, tmp_path):
    trainings.spread, trainings.covariance = 0.001, 0.01**2
    output = json.loads(compare("--until", "1", "--json").stdout)
    assert (output["until"]["why"], len(seeds_of(tmp_path))) == ("images", 5)


def test_an_interrupted_study_goes_on_with_the_same_command(compare, trainings, tmp_path, monkeypatch):
    trainings.spread = 0.01
    train = trainings.train

    def interrupted(cell, home, *, quiet=False):
        if cell["seed"] == 6:
            raise KeyboardInterrupt
        train(cell, home, quiet=quiet)

    monkeypatch.setattr(study, "train_cell", interrupted)
    assert compare("--until", "1").returncode == 130
    assert seeds_of(tmp_path) == [0, 1, 2, 3, 4, 5, 6]
    monkeypatch.setattr(study, "train_cell", train)
    assert compare("--until", "1").returncode == 0
    assert len(seeds_of(tmp_path)) >= 7
    assert len(trainings.trained) == len(set(trainings.trained)) == 2 * len(seeds_of(tmp_path))


@pytest.mark.slow
def test_the_rule_stands_before_the_first_cell_and_stays(compare, trainings, tmp_path):
    trainings.spread = 0.0001
    trainings.failing = {"huber-seed0"}
    assert compare("--until", "1").returncode == 5
    assert read_json(tmp_path / "STUDY" / "plan.json")["until"] == {"half_width": 0.01, "most_seeds": 20}
    trainings.failing = set()
    for other in (("--until", "2"), ("--until", "1", "--most-seeds", "9"), ("--seeds", "0-9")):
        refused = compare(*other)
        assert refused.returncode == 2
        assert "--until 1" in refused.stderr
    assert compare("--seeds", "0-4").returncode == 0  # no seed more: the report anew


@pytest.mark.slow
def test_a_study_with_results_takes_no_rule_later(compare, tmp_path):
    assert compare("--seeds", "0-4").returncode == 0
    refused = compare("--until", "1")
    assert refused.returncode == 2
    assert "without" in refused.stderr
    assert "until" not in read_json(tmp_path / "STUDY" / "plan.json")


def test_a_loss_that_always_fails_does_not_train_the_other_for_ever(compare, trainings, tmp_path):
    trainings.failing = {f"smooth-iou-seed{seed}" for seed in range(20)}
    assert compare("--until", "1").returncode == 5
    assert seeds_of(tmp_path) == [0, 1, 2, 3, 4]
    assert "smooth-iou failed with 5 of 5 seeds" in (tmp_path / "STUDY" / "report.html").read_text()


def test_given_seeds_are_the_first_and_are_completed_to_five(compare, trainings, tmp_path):
    trainings.spread = 0.0001
    assert compare("--until", "1", "--seeds", "7,8").returncode == 0
    assert seeds_of(tmp_path) == [7, 8, 0, 1, 2]


def test_several_jobs_get_seeds_enough(compare, trainings, monkeypatch):
    trainings.spread, calls = 0.05, []

    def parallel(folder, plan, *, jobs, on_event):
        calls.append(len(plan["seeds"]))
        return study.run_cells(folder, plan, trainings.train, on_event=on_event)

    monkeypatch.setattr(study, "run_parallel", parallel)
    assert compare("--until", "1", "--jobs", "4", "--most-seeds", "8").returncode == 0
    assert calls == [5, 7, 8]


@pytest.mark.parametrize(
    "words",
    [
        ("--until", "0"), ("--until", "-1"), ("--until", "nan"), ("--until", "100"), ("--most-seeds", "9"),
        ("--until", "1", "--most-seeds", "2"), ("--until", "1", "--seeds", "0-20"), ("--until", "1", "--losses", "iou"),
    ],
)  # fmt: skip
def test_options_that_make_no_rule_are_refused_before_anything_is_written(compare, tmp_path, words):
    refused = compare(*words)
    assert refused.returncode == 2, refused.stderr
    assert not (tmp_path / "STUDY").exists()


@pytest.mark.slow
def test_looks_by_hand_are_named_with_the_rule_that_holds(compare, trainings, tmp_path):
    trainings.spread = 0.01
    assert compare("--seeds", "0-2").returncode == 0
    page = tmp_path / "STUDY" / "report.html"
    assert "p &lt; 0.0154" not in page.read_text()
    assert compare("--seeds", "0-4").returncode == 0
    assert page.read_text().count("p &lt; 0.0154") == 2  # beside the differences, and in the notes
    assert json.loads((tmp_path / "STUDY" / "results.json").read_text())["until"] == {}
