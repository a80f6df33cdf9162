"""Weights of a study: in its plan, in every cell, kept when it continues, refused when they are others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smoothiou.errors import ConfigError, DataError
from smoothiou.files import write_json
from smoothiou.study import read_calibration, read_plan, write_or_continue
from smoothiou.study.stage_weights import SEED, calibration_options, merge_calibrations, weight_settings

WEIGHTS = {"huber": {"rpn": 1.0, "roi": 1.0}, "smooth-iou": {"rpn": 0.122, "roi": 2.7}}
EARLIER = {
    "reference": "huber", "seed": 7, "batches": 4, "steps": 30, "weights": WEIGHTS,
    "losses": {"huber": 1, "smooth-iou": 2}, "suggested": {"huber": None, "smooth-iou": None},
}  # fmt: skip
GROWN = {**WEIGHTS, "giou": {"rpn": 0.1, "roi": 4.5}}


def hashes(plan: dict[str, Any]) -> dict[str, str]:
    return {cell["id"]: cell["hash"] for cell in plan["cells"]}


class TestPlan:
    def test_every_cell_has_the_weights_of_its_loss(self, plan_of):
        plan = plan_of(weights=WEIGHTS)
        assert plan["weights"] == WEIGHTS
        for cell in plan["cells"]:
            settings = cell["settings"]
            assert {s: settings[f"loss.{s}_weight"] for s in ("rpn", "roi")} == WEIGHTS[cell["loss"]]
        assert not {"loss.rpn_weight", "loss.roi_weight"} & plan["settings"].keys()

    def test_a_weighted_cell_is_another_cell_and_one_of_weight_1_is_the_same(self, plan_of):
        plain, weighted = hashes(plan_of()), hashes(plan_of(weights=WEIGHTS))
        assert plain["huber-seed0"] == weighted["huber-seed0"]
        assert plain["smooth-iou-seed0"] != weighted["smooth-iou-seed0"]

    def test_without_a_calibration_all_cells_have_the_weights_of_the_settings(self, plan_of):
        plan = plan_of(loss__roi_weight=5.0)
        assert plan["weights"] == {}
        assert plan["settings"]["loss.roi_weight"] == 5.0
        assert {cell["settings"]["loss.roi_weight"] for cell in plan["cells"]} == {5.0}

    def test_a_stage_that_was_not_measured_keeps_1(self):
        assert weight_settings({"iou": {"roi": 4.5}}, "iou") == {"loss.rpn_weight": 1.0, "loss.roi_weight": 4.5}


class TestContinue:
    def test_the_same_weights_continue(self, plan_of, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        second, message = write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        assert second == first == read_plan(tmp_path)
        assert "extended" not in message

    def test_a_new_loss_brings_its_own_and_the_others_keep_theirs(self, plan_of, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        only = {"giou": GROWN["giou"]}
        plan, message = write_or_continue(tmp_path, plan_of(("giou",), (0,), weights=only))
        assert plan["weights"] == GROWN
        assert "extended by losses giou" in message
        assert hashes(first).items() <= hashes(plan).items()

    def test_other_weights_are_refused_by_name(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        before = (tmp_path / "plan.json").read_bytes()
        other = {**WEIGHTS, "smooth-iou": {"rpn": 0.122, "roi": 3.0}}
        with pytest.raises(ConfigError, match="weights.smooth-iou.roi: 2.7.*3.0") as caught:
            write_or_continue(tmp_path, plan_of(weights=other))
        assert "rpn" not in caught.value.message
        assert (tmp_path / "plan.json").read_bytes() == before

    def test_a_study_with_weights_is_not_continued_without(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        with pytest.raises(ConfigError, match="calibrate: True") as caught:
            write_or_continue(tmp_path, plan_of())
        assert "weights.smooth-iou.roi: 2.7 there, 1.0 asked for" in caught.value.message
        assert caught.value.hint.startswith("Give --calibrate")

    def test_a_study_without_weights_is_not_continued_with_some(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of())
        with pytest.raises(ConfigError, match="calibrate: False") as caught:
            write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        assert "Give --calibrate" not in caught.value.hint

    def test_a_plan_from_before_there_were_weights_continues(self, plan_of, tmp_path: Path):
        old = plan_of()
        del old["weights"]
        for settings in (old["settings"], *(cell["settings"] for cell in old["cells"])):
            del settings["loss.rpn_weight"], settings["loss.roi_weight"]
        write_json(tmp_path / "plan.json", old)
        plan, message = write_or_continue(tmp_path, plan_of())
        assert hashes(plan) == hashes(old)
        assert "continued" in message
        with pytest.raises(ConfigError, match="loss.roi_weight: 1.0.*2.0"):
            write_or_continue(tmp_path, plan_of(loss__roi_weight=2.0))

    def test_overwrite_takes_the_calibration_away(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of(weights=WEIGHTS))
        (tmp_path / "calibration.json").write_text("{}")
        write_or_continue(tmp_path, plan_of(), overwrite=True)
        assert not (tmp_path / "calibration.json").exists()

    def test_a_plan_with_damaged_weights_names_the_key(self, plan_of, tmp_path: Path):
        write_json(tmp_path / "plan.json", {**plan_of(), "weights": [1]})
        with pytest.raises(DataError, match="weights"):
            read_plan(tmp_path)


class TestCalibrationFile:
    def test_the_first_is_made_with_a_seed_of_its_own_against_the_baseline(self):
        assert calibration_options(None, baseline="l1") == {"reference": "l1", "seed": SEED}
        assert SEED > 10**6

    def test_later_ones_are_made_like_the_first_whatever_the_baseline_is_now(self):
        options = calibration_options(EARLIER, baseline="l1")
        assert options == {"reference": "huber", "seed": 7, "batches": 4, "steps": 30}

    def test_only_what_is_new_is_added(self):
        found = {
            "weights": {"huber": {"roi": 9.0}, "giou": GROWN["giou"]},
            "losses": {"huber": 9, "giou": 3},
            "suggested": {"huber": 9, "giou": {"weight": 10}},
            "made_by": {"command": ["smoothiou"]},
        }
        both = merge_calibrations(EARLIER, found, new=["giou"])
        assert both["weights"] == GROWN
        assert both["losses"] == {"huber": 1, "smooth-iou": 2, "giou": 3}
        assert both["suggested"]["giou"] == {"weight": 10}
        assert both["extended"] == [{"command": ["smoothiou"], "losses": ["giou"]}]
        assert merge_calibrations(None, found, new=["giou"]) == found

    def test_there_may_be_none(self, tmp_path: Path):
        assert read_calibration(tmp_path) is None
