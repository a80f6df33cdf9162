"""Benchmarks are run by hand and seldom: what they import must still be there."""

from __future__ import annotations

import importlib
import json
import shutil
import types
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _from_the_folder(monkeypatch):
    """As where a script is run, its folder is on the path."""
    monkeypatch.syspath_prepend(FOLDER)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_each_script_can_be_imported(path):
    module = importlib.import_module(path.stem)
    assert Path(str(module.__file__)) == path
    assert module.__doc__


def test_the_registered_configurations_are_those_that_were_drawn():
    """The text of docs/study.md fixes how they are drawn: another Python or another order must not change them."""
    study = importlib.import_module("registered_study")
    drawn = {arm.name: study.configurations(arm) for arm in study.ARMS}
    assert all(len(of_arm) == study.TRIALS + 1 for of_arm in drawn.values())
    assert drawn["huber"][1] == {
        "loss.name": "huber[delta=0.256]", "optim.lr": 0.000371, "loss.rpn_weight": 1.08, "loss.roi_weight": 1.64,
    }  # fmt: skip
    kept = FOLDER.parent / "docs" / "results" / "study" / "tuning.json"
    for name, trials in json.loads(kept.read_text())["trials"].items() if kept.is_file() else ():
        assert [trial["settings"] for trial in trials] == drawn[name]


def test_the_primary_part_needs_the_tuning_of_its_pair_alone(tmp_path, monkeypatch):
    study = importlib.import_module("registered_study")
    chosen = {name: {"loss.name": f"{name}-tuned"} for name in ("huber", "smooth-iou")}
    (tmp_path / "tuning.json").write_text(json.dumps({"chosen": chosen}))
    studies = []
    monkeypatch.setattr(study, "KEPT", tmp_path)
    monkeypatch.setattr(study, "compare", lambda *_, data, losses, until, jobs: studies.append((data, losses, until)))
    monkeypatch.setattr("sys.argv", ["", "primary", "--data", str(tmp_path), "--out", str(tmp_path / "studies")])
    study.main()
    assert studies == [(data, ["huber-tuned", "smooth-iou-tuned"], True) for data in study.SETS]


def test_what_was_tuned_on_another_machine_is_not_tuned_again(tmp_path, monkeypatch):
    study = importlib.import_module("registered_study")
    trained = []

    def val_ap(_sets, _out, data, arm, number, _settings):
        trained.append((arm.name, number, data))
        return 0.5 + 0.01 * number

    monkeypatch.setattr(study, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(study, "_val_ap", val_ap)
    study.tune(tmp_path, tmp_path, arms=1, jobs=1)
    assert len(trained) == len(study.TUNED_ON) * (study.TRIALS + 1)
    trained.clear()
    study.tune(tmp_path, tmp_path, arms=2, jobs=1)
    assert {name for name, _, _ in trained} == {"smooth-iou"}
    tuning = json.loads((tmp_path / "kept" / "tuning.json").read_text())
    assert tuning["chosen"]["huber"] == study.configurations(study.ARMS[0])[-1]  # the last has the highest AP
    assert all(set(trial["val_AP"]) == set(study.TUNED_ON) for trial in tuning["trials"]["huber"])


def test_arms_from_one_on_are_compared_with_the_baseline_in_a_study_of_their_own(tmp_path, monkeypatch):
    study = importlib.import_module("registered_study")
    chosen = {arm.name: {"loss.name": f"{arm.name}-tuned"} for arm in study.ARMS}
    (tmp_path / "tuning.json").write_text(json.dumps({"chosen": chosen}))
    studies = []
    monkeypatch.setattr(study, "KEPT", tmp_path)

    def compare(_sets, out, *, data, losses, **_):
        studies.append((out.name, data, losses))

    monkeypatch.setattr(study, "compare", compare)
    folders = ["--data", str(tmp_path), "--out", str(tmp_path / "studies")]
    monkeypatch.setattr("sys.argv", ["", "arms", *folders, "--first", "6", "--arms", "7", "--jobs", "1"])
    study.main()
    assert studies == [("arms6", data, ["huber-tuned", "iou-tuned", "giou-tuned"]) for data in study.TUNED_ON]


def test_a_study_that_begins_with_the_cells_of_another_one_begins_again_after_a_kill(tmp_path, monkeypatch):
    study = importlib.import_module("registered_study")
    (tmp_path / "tuned.toml").write_text("")
    monkeypatch.setattr(study, "KEPT", tmp_path)
    monkeypatch.setattr(study, "SETS", {"shapes": ()})
    monkeypatch.chdir(tmp_path)
    cells = [tmp_path / name / "cells" / "huber-seed0" for name in ("trained", "study/shapes")]
    cells[0].mkdir(parents=True)
    for name in ("result.json", "done"):
        (cells[0] / name).write_text("{}")
    cells[1].mkdir(parents=True)  # as far as the copy had come
    (cells[1] / "result.json").write_text("")
    plan = {"cells": [{"id": "huber-seed0"}]}
    monkeypatch.setattr(study, "prepare_study", lambda *_, **__: types.SimpleNamespace(plan=plan))
    study.begin(tmp_path, tmp_path / "study" / "shapes", data="shapes", losses=["huber"], trained=tmp_path / "trained")
    assert (cells[1] / "done").is_file()
    assert (cells[1] / "result.json").read_text() == "{}"
    assert json.loads((tmp_path / "study" / "shapes" / "plan.json").read_text()) == plan


def test_arms_that_are_not_tuned_are_named(tmp_path, monkeypatch, capsys):
    study = importlib.import_module("registered_study")
    chosen = {name: {"loss.name": name} for name in ("huber", "smooth-iou")}
    (tmp_path / "tuning.json").write_text(json.dumps({"chosen": chosen}))
    monkeypatch.setattr(study, "KEPT", tmp_path)
    monkeypatch.setattr("sys.argv", ["", "arms", "--data", str(tmp_path), "--out", str(tmp_path), "--arms", "3"])
    with pytest.raises(SystemExit):
        study.main()
    assert "literal" in capsys.readouterr().err


def test_the_kept_results_give_the_kept_summary_and_name_no_folder_of_a_machine(tmp_path, capsys):
    study = importlib.import_module("registered_study")
    kept = json.loads((study.KEPT / "summary.json").read_text())
    shutil.copytree(study.KEPT, tmp_path / "study")
    study.summary(tmp_path / "study", sets=study.SETS, tuned_on=study.TUNED_ON)
    again = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert "| shapes | clean | long_tail | loose |" in capsys.readouterr().out
    assert again["p_holm"] == pytest.approx(kept["p_holm"])
    for label, of_sets in kept["sets"].items():
        for name, row in of_sets.items():
            ends = ("mean", "low", "high")
            assert [again["sets"][label][name][end] for end in ends] == pytest.approx([row[end] for end in ends])
    for file in study.KEPT.rglob("plan.json"):
        plan = json.loads(file.read_text())
        path = plan["settings"]["data.path"]
        assert path == "shapes" if "control" in file.parts else path.startswith("SETS/")
        assert not any(word.startswith("/") for word in plan["command"])


def test_a_study_that_is_not_finished_is_left_out_of_the_summary(tmp_path, capsys):
    study = importlib.import_module("registered_study")
    shutil.copytree(study.KEPT, tmp_path / "study")
    for name in ("bccd", "control/loose"):
        for cell in sorted((tmp_path / "study" / name / "cells").glob("smooth-iou*"))[1:]:
            shutil.rmtree(cell)
    shutil.rmtree(tmp_path / "study" / "voc2012" / "cells")
    study.summary(tmp_path / "study", sets=study.SETS, tuned_on=study.TUNED_ON)
    printed = capsys.readouterr().out
    assert "Without bccd, voc2012" in printed
    assert "| shapes | clean | long_tail |\n" in printed


def test_p_values_are_corrected_after_holm():
    # Three: the smallest times 3, the next times 2, and the largest is not below the one before it.
    study = importlib.import_module("registered_summary")
    corrected = study.holm({"a": 0.04, "b": 0.01, "c": 0.03})
    assert corrected == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})
    assert study.holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
