"""`smoothiou calibrate`, and a study that begins with it."""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path

import pytest

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.lab.calibration import Calibration
from smoothiou.losses import LOSSES
from smoothiou.study import make_plan, write_or_continue
from smoothiou.study.stage_weights import SEED

from .conftest import TINY

FEW = ("--batches", "2", "--steps", "1", "--train.steps", "4")
# TINY without its `--steps`, which here says how long to train before the measurement.
SMALL = (*TINY[: TINY.index("--steps")], *TINY[TINY.index("--steps") + 2 :])


def test_a_table_for_people_and_everything_for_programs(smoothiou, tmp_path: Path):
    words = ["calibrate", "shapes", *SMALL, *FEW, "--losses", "huber,iou,huber[delta=0.5]", "--quiet"]
    printed = smoothiou(*words)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("shapes/train, 12 images; nano; 2 batches of 2 images")
    assert "the ratio after 1 step" in printed.stdout
    for stage in ("rpn", "roi"):
        table = printed.stdout.split(f"\n{stage}: ")[1].split("\n\n")[0].splitlines()
        assert [row.split()[0] for row in table[-3:]] == ["huber", "iou", "huber[delta=0.5]"]
        assert table[-4].split()[0] == "loss"
        assert table[-3].split()[-2:] == ["1", "1"]  # the reference's weight, measured and in the literature

    saved = smoothiou(*words, "--json", "--out", "found.json")
    assert saved.returncode == 0, saved.stderr
    found = json.loads(saved.stdout)
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert list(found["weights"]) == ["huber", "iou", "huber[delta=0.5]"]
    assert found["weights"]["huber"] == {"rpn": 1.0, "roi": 1.0}
    assert f"{found['weights']['iou']['roi']:g}" in printed.stdout
    assert found["decides"] == "after 1 step"
    again = smoothiou(*words, "--out", "found.json")
    assert again.returncode == 2
    assert "found.json exists" in again.stderr


def test_every_loss_can_be_measured_and_a_run_too(smoothiou, tmp_path: Path):
    assert smoothiou("train", "shapes", "--loss", "l1", "--out", "RUN", *TINY).returncode == 0
    result = smoothiou("calibrate", "--run", "RUN", "--batches", "1", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found["weights"]) == set(LOSSES)
    assert found["decides"] == "RUN, step 2"
    assert all(weight > 0 for weights in found["weights"].values() for weight in weights.values())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["shapes", "--losses", "huber,iuo"], 2, 'Did you mean "iou"'),
        (["shapes", "--reference", "hubr"], 2, "--reference: no loss is called 'hubr'"),
        ([], 2, "DATA is missing"),
        (["--run", "nowhere"], 4, "nowhere: no run"),
        (["--run", "nowhere", "--recipe", "quick"], 2, "--run brings its own recipe"),
        (["--run", "nowhere", "--steps", "3"], 2, "--steps is not for it"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(smoothiou, words: list[str], code: int, said: str):
    result = smoothiou("calibrate", *words)
    assert result.returncode == code, result.stderr
    assert said in result.stderr


def test_a_study_is_calibrated_once_grows_with_its_own_weights_and_refuses_others(smoothiou, tmp_path: Path):
    words = ["compare", "shapes", "--out", "STUDY", *SMALL, "--steps", "4", "--seeds", "0"]
    first = [*words, "--losses", "huber,iou", "--calibrate"]
    dry = smoothiou(*first, "--dry-run")
    assert "would calibrate first: huber, iou" in dry.stdout
    assert not (tmp_path / "STUDY").exists()
    begun = smoothiou(*first)
    assert begun.returncode == 0, begun.stderr
    study = tmp_path / "STUDY"
    plan, found = (json.loads((study / name).read_text()) for name in ("plan.json", "calibration.json"))
    assert plan["weights"] == found["weights"]
    assert plan["weights"]["huber"] == {"rpn": 1.0, "roi": 1.0}
    assert plan["weights"]["iou"] not in ({"rpn": 1.0, "roi": 1.0}, {})
    assert (found["seed"], found["steps"], found["reference"]) == (SEED, 1, "huber")
    settings = tomllib.loads((study / "cells" / "iou-seed0" / "config.toml").read_text())["loss"]
    assert {"rpn": settings["rpn_weight"], "roi": settings["roi_weight"]} == plan["weights"]["iou"]
    assert f"<strong>{plan['weights']['iou']['roi']:g}</strong>" in (study / "report.html").read_text()

    measured = (study / "calibration.json").read_bytes()
    again = smoothiou(*first)
    assert again.returncode == 0, again.stderr
    assert "Calibrating" not in again.stderr
    assert (study / "calibration.json").read_bytes() == measured

    without = smoothiou(*words, "--losses", "huber,iou")
    assert without.returncode == 2
    assert "calibrate: True there, False asked for" in without.stderr
    assert f"weights.iou.roi: {plan['weights']['iou']['roi']} there, 1.0 asked for" in without.stderr
    assert "Give --calibrate" in without.stderr

    grown = smoothiou(*words, "--losses", "l1", "--calibrate")
    assert grown.returncode == 0, grown.stderr
    assert "Calibrating l1 against huber" in grown.stderr
    more, kept = (json.loads((study / name).read_text()) for name in ("calibration.json", "plan.json"))
    assert {loss: more["weights"][loss] for loss in ("huber", "iou")} == plan["weights"]
    assert more["losses"]["huber"] == found["losses"]["huber"]
    assert kept["weights"] == more["weights"]
    assert list(more["weights"]) == ["huber", "iou", "l1"]
    assert more["extended"][0]["losses"] == ["l1"]


def test_a_plan_that_will_be_refused_is_not_worth_a_measurement(tmp_path: Path, monkeypatch):
    config = RunConfig()
    facts = {"name": "shapes", "split": "train", "fingerprint": "aaaa1111"}
    data = {"train": facts, "val": None, "test": facts}
    plan = functools.partial(make_plan, seeds=[0], data=data, classes=["a"], command=[])
    ones = {"huber": {"rpn": 1.0, "roi": 1.0}}
    write_or_continue(tmp_path, plan(config, losses=["huber"], weights=ones))
    other = config.replace({"optim.lr": 0.5})
    calibration = Calibration(other, tmp_path, ["huber", "iou"], overwrite=False)
    assert calibration.new == ["iou"]
    monkeypatch.setattr("smoothiou.lab.calibrate.propose_weights", None)
    wanted = plan(other, losses=["huber", "iou"], weights=calibration.weights)
    with pytest.raises(ConfigError, match="optim.lr"):
        calibration.measure(wanted, None, quiet=True, say=print)
    assert Calibration(other, tmp_path, ["huber", "iou"], overwrite=True).new == ["huber", "iou"]


def test_weights_by_hand_and_by_calibration_exclude_each_other(smoothiou):
    result = smoothiou("compare", "shapes", "--calibrate", "--loss.roi_weight", "5", *TINY)
    assert result.returncode == 2
    assert "--calibrate finds loss.roi_weight for each loss, and 5 was set" in result.stderr
