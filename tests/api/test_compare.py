"""`smoothiou.compare` and the `Study` that it returns."""

from __future__ import annotations

import json

import pytest

import smoothiou
from smoothiou.errors import ConfigError, DataError, IncompleteStudyError

from ..cli.conftest import run_here
from ..report.fake_study import make_study
from .conftest import TINY


def failing(pred_deltas, target_deltas, *, weights, anchors):
    """Fails in a training, not on the two boxes and on none that it is tried with."""
    if len(pred_deltas) == 0 or (len(pred_deltas) == 2 and (anchors[0] == anchors[1]).all()):
        return pred_deltas.abs().sum(1)
    raise ArithmeticError("on purpose")


@pytest.mark.slow
def test_a_study_and_the_command_line_that_its_report_names(tmp_path):
    study = smoothiou.compare("shapes", losses=["huber", "giou"], seeds=[1], out="STUDY", **TINY)
    assert study.losses == ["huber", "giou"]
    assert study.seeds == [1]
    assert not study.missing
    assert study.page.is_file()
    runs = {(loss, seed): study.run(loss, seed) for loss in study.losses for seed in study.seeds}
    assert {(run.result["loss"], run.result["seed"]) for run in runs.values()} == set(runs)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(before) == 2
    again = run_here(tmp_path, *study.loaded.plan["command"][1:], "--train.log_every", "5", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["headline"]["text"] == study.verdict()
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the command did the same, so it was done"


def test_the_table_has_the_means_and_the_differences_of_the_results(tmp_path):
    study = smoothiou.load_study(make_study(tmp_path / "STUDY", gallery=0, effect=0.02))
    aps = {loss: [study.run(loss, seed).metrics["AP"] for seed in study.seeds] for loss in study.losses}
    mean = {loss: 100 * sum(values) / len(values) for loss, values in aps.items()}
    rows = {row.head: [cell.text for cell in row.cells] for row in study.summary().rows}
    assert {loss: float(cells[0]) for loss, cells in rows.items()} == pytest.approx(mean, abs=0.051)
    assert float(rows["smooth-iou"][2].replace("−", "-")) == pytest.approx(
        mean["smooth-iou"] - mean["huber"], abs=0.051
    )
    text, page = str(study.summary()), study._repr_html_()
    for cell in rows["smooth-iou"]:
        assert cell in text
        assert f">{cell}<" in page
    assert study.verdict() in page

    row = study.loaded.difference("smooth-iou", "AP")
    assert row is not None
    assert row["verdict"] == "better"
    best = max(study.seeds, key=lambda seed: study.run("smooth-iou", seed).metrics["AP"])
    assert study.best().folder == study.run("smooth-iou", best).folder


def test_names_of_losses_are_shown_as_text_in_a_notebook(tmp_path):
    study = smoothiou.load_study(make_study(tmp_path / "STUDY", losses=("huber", "mine:<b>"), gallery=0))
    assert "mine:&lt;b&gt;" in study._repr_html_()
    assert "<b>mine" not in study._repr_html_()
    assert "mine:<b>" not in study._repr_html_()


@pytest.mark.slow
def test_a_study_with_a_failed_training_is_refused_and_can_still_be_read():
    with pytest.raises(IncompleteStudyError, match=r"failing.*error\.txt"):
        smoothiou.compare("shapes", losses=["huber", failing], seeds=[0], out="STUDY", **TINY)
    study = smoothiou.load_study("STUDY")
    assert len(study.missing) == 1
    assert study.best().folder.name == "huber-seed0"


def test_what_other_processes_cannot_import_is_refused_where_they_would_train():
    with pytest.raises(ConfigError, match="jobs=1"):
        smoothiou.compare("shapes", losses=["huber", lambda *deltas, **_: 0], jobs=2, out="STUDY", **TINY)
    with pytest.raises(ConfigError, match="--losses"):
        smoothiou.compare("shapes", loss__name="giou", **TINY)


def test_a_study_of_an_object_of_another_process_is_not_continued(tmp_path):
    make_study(tmp_path / "STUDY", losses=("huber", "in-process:mine-12345678"), gallery=0)
    before = (tmp_path / "STUDY" / "plan.json").read_bytes()
    with pytest.raises(ConfigError, match=r"in-process:mine-12345678.*package\.module:object"):
        smoothiou.compare("shapes", losses=["huber", "giou"], out="STUDY", **TINY)
    assert (tmp_path / "STUDY" / "plan.json").read_bytes() == before


def test_a_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(DataError, match="plan.json"):
        smoothiou.load_study(tmp_path)
