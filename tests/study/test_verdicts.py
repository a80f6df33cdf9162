"""What is concluded of a difference: from seeds and images, with a margin, for one candidate and several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothiou import files
from smoothiou.errors import DataError
from smoothiou.study import collect
from tests.study.conftest import row, with_uncertainty


class TestVerdicts:
    BASE = ({"AP": 0.40}, {"AP": 0.41}, {"AP": 0.42})

    def found(self, study, gains: tuple[float, ...], covariance: float = 1e-7, **options) -> dict:
        base = list(self.BASE[: len(gains)])
        other = [{"AP": cell["AP"] + gain} for cell, gain in zip(base, gains, strict=True)]
        return collect(with_uncertainty(study({"huber": base, "smooth-iou": other}), covariance, **options))

    @pytest.mark.parametrize(
        ("gains", "begins", "kind"),
        [
            ((0.050, 0.052, 0.051), "Use smooth-iou: AP +5.1 points [", "better"),
            ((-0.050, -0.052, -0.051), "Keep huber: smooth-iou is worse, AP -5.1 points [", "worse"),
            ((0.001, -0.001, 0.0005), "They are equal within 1 AP point: ", "same"),
            ((0.0031, 0.0030, 0.0032), "Use smooth-iou: AP +0.3 points [", "better"),
            ((0.05, -0.04, 0.01), "Not known: smooth-iou minus huber AP +0.7 points [", "unknown"),
            ((0.05, 0.052), "Not known: ", "unknown"),
            ((0.05,), "Not known: ", "unknown"),
        ],
    )
    def test_the_headline_says_what_to_do(self, study, gains, begins: str, kind: str):
        headline = self.found(study, gains)["headline"]
        assert headline["text"].startswith(begins)
        assert headline["kind"] == kind
        assert bool(headline["advice"]) == (kind == "unknown")

    def test_advice_names_seeds_or_images(self, study):
        assert "seeds in all" in self.found(study, (0.05, -0.04, 0.01))["headline"]["advice"][0]

    def test_where_images_limit_more_images_are_asked_for(self, study):
        assert (
            "test images would tell"
            in self.found(study, (0.010, 0.011, 0.012), covariance=4e-4)["headline"]["advice"][0]
        )

    def test_doubt_from_images_widens_the_interval_and_both_parts_are_given(self, study):
        entry = row(self.found(study, (0.010, 0.012, 0.014), covariance=1e-4), "smooth-iou", "AP")
        assert entry["low"] < entry["seeds_only"]["low"]
        assert entry["from_seeds"] + entry["from_images"] == pytest.approx(1)
        assert entry["method"] == "t"

    def test_a_study_whose_runs_were_not_compared_on_the_images_says_that_its_intervals_are_too_narrow(self, study):
        other = [{"AP": cell["AP"] + gain} for cell, gain in zip(self.BASE, (0.050, 0.052, 0.051), strict=True)]
        folder = study({"huber": list(self.BASE), "smooth-iou": other})
        advice = collect(folder)["headline"]["advice"]
        assert "too narrow" in advice[0]
        assert not collect(with_uncertainty(folder, 1e-7))["headline"]["advice"]

    def test_a_test_set_of_two_images_decides_nothing(self, study):
        found = self.found(study, (0.050, 0.052, 0.051), covariance=0.0, images=2)
        assert row(found, "smooth-iou", "AP")["verdict"] == "not distinguishable"
        assert "more images" in found["headline"]["advice"][0]
        json.dumps(found, allow_nan=False)

    def test_a_seed_that_failed_for_one_loss_only_is_left_out(self, study):
        base, other = [*self.BASE, {"AP": 0.9}], [{"AP": 0.45}, {"AP": 0.461}, {"AP": 0.472}, None]
        entry = row(collect(study({"huber": base, "smooth-iou": other})), "smooth-iou", "AP")
        assert (entry["n"], entry["seeds"], entry["verdict"]) == (3, [0, 1, 2], "better")

    def test_several_candidates_share_one_error_and_one_first_line(self, study):
        base = [{"AP": value} for value in (0.40, 0.41, 0.42)]
        up, same = [{"AP": value} for value in (0.45, 0.461, 0.472)], [{"AP": value} for value in (0.401, 0.409, 0.42)]
        found = collect(study({"huber": base, "giou": up, "iou": same}))
        assert row(found, "giou", "AP")["method"].startswith("Dunnett")
        assert found["headline"]["text"].startswith("Use giou: ")
        assert any("Dunnett" in note for note in found["notes"])
        json.dumps(found, allow_nan=False)

    def test_several_candidates_of_which_none_is_better(self, study):
        base = [{"AP": value} for value in (0.40, 0.41, 0.42)]
        down, same = (
            [{"AP": value} for value in (0.30, 0.311, 0.322)],
            [{"AP": value} for value in (0.401, 0.409, 0.42)],
        )
        text = collect(study({"huber": base, "l2": down, "iou": same}))["headline"]["text"]
        assert text.startswith("Keep huber: none of 2")
        assert "1 worse" in text

    def test_the_margin_of_the_plan_holds_and_an_old_plan_has_the_usual_one(self, study):
        gains = (0.013, 0.012, 0.014)
        found = self.found(study, gains)
        assert (row(found, "smooth-iou", "AP")["conclusion"], found["plan"].get("margin")) == ("better", None)

    @pytest.fixture
    def rewritten(self, study):
        """Give a function that changes plan.json of a study of three seeds that gain 1.3 points."""

        def make(**changes) -> Path:
            other = [{"AP": cell["AP"] + gain} for cell, gain in zip(self.BASE, (0.013, 0.012, 0.014), strict=True)]
            folder = with_uncertainty(study({"huber": list(self.BASE), "smooth-iou": other}), 1e-7)
            files.write_json(folder / "plan.json", {**files.read_json(folder / "plan.json"), **changes})
            return folder

        return make

    def test_a_wider_margin_makes_a_gain_too_small_to_matter(self, rewritten):
        entry = row(collect(rewritten(margin={"AP": 0.02})), "smooth-iou", "AP")
        assert (entry["margin"], entry["conclusion"]) == (0.02, "better within")
        assert row(collect(rewritten(margin={"AP": 0.02})), "smooth-iou", "mean_iou")["margin"] == 0.005

    @pytest.mark.parametrize("margin", [{"AP": 0}, {"AP": "1"}, {"mAP": 0.01}, [0.01], {"AP": 1.0}])
    def test_an_impossible_margin_is_named(self, rewritten, margin):
        with pytest.raises(DataError, match="margin"):
            collect(rewritten(margin=margin))

    def test_a_study_that_grew_until_it_was_known_reports_the_wider_interval_and_says_so(self, rewritten):
        usual, grown = (
            row(collect(rewritten(**c)), "smooth-iou", "AP")
            for c in ({}, {"until": {"half_width": 0.01, "most_seeds": 20}})
        )
        assert grown["high"] - grown["low"] > usual["high"] - usual["low"]
        assert any(
            "97.5 %" in note for note in collect(rewritten(until={"half_width": 0.01, "most_seeds": 20}))["notes"]
        )

    def test_a_study_extended_by_hand_asks_for_more_and_one_extended_by_losses_does_not(self, rewritten):
        looked = collect(rewritten(extended=[{"seeds": 2}]))
        assert any("0.0154" in note for note in looked["notes"])
        assert not any("0.0154" in note for note in collect(rewritten(extended=[{"seeds": 3}]))["notes"])
