"""The report prints the weights of its losses and how they were found, or that they were not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from smoothiou.errors import DataError
from smoothiou.report.loaded_study import load_study
from smoothiou.report.provenance import weights_sentence
from smoothiou.report.tables import weights_table
from smoothiou.report.write import write_report
from tests.report.fake_study import make_study

WEIGHTS = {"huber": {"rpn": 1.0, "roi": 1.0}, "smooth-iou": {"rpn": 0.122, "roi": 2.7}}
SENTENCE = (
    "Calibrated: each stage of each loss has the weight with which it pulls at its boxes as strongly as huber does at "
    "weight 1, measured after 200 steps of training with huber on 8 batches."
)


pytestmark = pytest.mark.usefixtures("without_panels")


def entry(mean: float, ratio: float) -> dict[str, Any]:
    return {"mean": mean, "rms": mean, "ratio": ratio, "low": ratio * 0.9, "high": ratio * 1.1, "batches": 8}


def calibration(**changes: Any) -> dict[str, Any]:
    sizes = {"huber": (0.96, 1.0), "smooth-iou": (0.356, 2.7)}
    return {
        "schema_version": 1,
        "reference": "huber",
        "decides": "after 200 steps",
        "moments": [{"name": "start", "step": 0}, {"name": "after 200 steps", "step": 200}],
        "batches": 8,
        "steps": 200,
        "seed": 0,
        "weights": WEIGHTS,
        "suggested": {"huber": None, "smooth-iou": {"weight": 1.0, "source": "the paper"}},
        "losses": {
            loss: {stage: {"start": entry(0.7, 1.5), "after 200 steps": entry(*size)} for stage in ("rpn", "roi")}
            for loss, size in sizes.items()
        },
        **changes,
    }


@pytest.fixture
def calibrated(tmp_path: Path) -> Path:
    folder = make_study(tmp_path / "study", gallery=0)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "weights": WEIGHTS}))
    (folder / "calibration.json").write_text(json.dumps(calibration()))
    return folder


def test_a_study_without_weights_says_so_in_one_line(tmp_path: Path):
    folder = make_study(tmp_path / "study", gallery=0)
    write_report(folder)
    said = "Not calibrated: every loss at weight 1."
    assert said in (folder / "report.html").read_text()
    assert said in (folder / "report.md").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert (results["weights"], results["calibration"]) == (said, None)
    assert "Weights of the losses" not in (folder / "report.html").read_text()


def test_common_weights_are_told_too(tmp_path: Path):
    folder = make_study(tmp_path / "study", gallery=0)
    plan = json.loads((folder / "plan.json").read_text())
    plan["settings"] |= {"loss.weight": 2.0, "loss.roi_weight": 5.0}
    (folder / "plan.json").write_text(json.dumps(plan))
    said = weights_sentence(load_study(folder))
    assert said == "Not calibrated: every loss at weight 2 in the first stage and 10 in the second."


def test_every_format_prints_weights_gradients_and_how_they_were_found(calibrated: Path):
    write_report(calibrated)
    page, text, latex = ((calibrated / name).read_text() for name in ("report.html", "report.md", "tables.tex"))
    for content in (page, text, latex):
        assert SENTENCE in content
        assert "0.122" in content
        assert "0.356" in content
    assert "<strong>2.7</strong>" in page
    assert re.search(
        r"\| smooth-iou, second stage \| \*\*2.7\*\* \| 0.7 \| 1.5 .* \| 0.356 \| 2.7 .2.43, 2.97",
        text.replace("\\", ""),
    )
    assert r"\label{tab:weights}" in latex
    results = json.loads((calibrated / "results.json").read_text())
    assert results["calibration"]["losses"]["smooth-iou"]["roi"]["after 200 steps"]["mean"] == 0.356
    assert results["plan"]["weights"] == WEIGHTS


def test_the_table_has_a_row_for_each_stage_and_loss_and_names_the_literature(calibrated: Path):
    table = weights_table(load_study(calibrated))
    assert [row.head for row in table.rows] == [
        "huber, first stage", "smooth-iou, first stage", "huber, second stage", "smooth-iou, second stage",
    ]  # fmt: skip
    assert table.columns[-1] == "in the literature"
    assert [row.cells[-1].text for row in table.rows] == ["–", "1", "–", "1"]
    assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_weights_whose_origin_is_lost_are_still_printed(calibrated: Path):
    (calibrated / "calibration.json").unlink()
    write_report(calibrated)
    page = (calibrated / "report.html").read_text()
    assert "calibration.json, which says how, is missing" in page
    assert "<strong>0.122</strong>" in page


def test_a_calibration_before_any_training(calibrated: Path):
    moments = [{"name": "start", "step": 0}]
    content = calibration(moments=moments, decides="start", steps=0)
    (calibrated / "calibration.json").write_text(json.dumps(content))
    assert "measured before training on 8 batches" in weights_sentence(load_study(calibrated))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"schema_version": 9}, ".*schema_version"),
        (calibration(weights=[]), "weights: .*list"),
        ({k: v for k, v in calibration().items() if k != "moments"}, "moments: .*list"),
    ],
)
def test_a_damaged_calibration_names_file_and_key(calibrated: Path, content: Any, words: str):
    (calibrated / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"calibration\.json: {words}"):
        write_report(calibrated)
