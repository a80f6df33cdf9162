"""Benchmarks are run by hand and seldom: what they import must still be there."""

from __future__ import annotations

import importlib
import json
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
