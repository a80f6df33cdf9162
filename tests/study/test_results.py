"""What a study says of itself: complete pairs only, every gap named, never more than the numbers allow."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from smoothiou import files
from smoothiou.errors import DataError
from smoothiou.study import cell_folder, collect, signature, validate_result, write_or_continue
from smoothiou.study.results import METRICS
from tests.study.conftest import result_of

CELL = {"id": "huber-seed0", "loss": "huber", "seed": 0, "hash": "0123456789ab"}
TEST = {"name": "bccd", "split": "test", "fingerprint": "3c1f9a2b", "images": 72}


class TestSchema:
    @pytest.mark.parametrize(
        ("edit", "words"),
        [
            (lambda r: r.update(schema_version=2), "schema_version: .*2"),
            (lambda r: r.pop("hash"), "hash is missing"),
            (lambda r: r["metrics"].pop("AR10"), r"metrics\.AR10 is missing"),
            (lambda r: r["metrics"].update(AP="0.5"), r"metrics\.AP: .*'0\.5'"),
            (lambda r: r["metrics"].update(AP=True), r"metrics\.AP: .*True"),
            (lambda r: r["localization"].pop("mean_iou"), r"localization\.mean_iou is missing"),
            (
                lambda r: r["localization"].update(raw_boxes=None),
                r"localization\.raw_boxes",
            ),
            (lambda r: r["localization"]["histogram"].pop("raw"), r"localization\.histogram\.raw is missing"),
            (lambda r: r.update(localization=[]), r"localization: .*\[\]"),
            (lambda r: r.update(seed="0"), "seed: .*'0'"),
            (lambda r: r.update(loss=None), "loss: .*None"),
        ],
    )
    def test_a_whole_result_passes_and_a_fault_names_its_key(self, edit, words: str):
        result = result_of(CELL, AP_large=None, AP_small=math.nan)
        validate_result(result)  # also with undefined metrics
        edit(result)
        with pytest.raises(DataError, match=words):
            validate_result(result)

    def test_what_is_no_mapping_is_refused(self):
        with pytest.raises(DataError, match="mapping.*list"):
            validate_result([])


class TestSignature:
    def test_of_one_run_as_in_the_contract(self):
        text = signature("AP", engine="hotcoco-1.3.0", data=TEST, seeds=0, version="0.1.0")
        assert text == (
            "AP|coco|iou:.50-.95|area:all|maxdet:100|engine:hotcoco-1.3.0|"
            "data:bccd/test#3c1f9a2b|imgs:72|seed:0|smoothiou:0.1.0"
        )

    def test_every_metric_has_its_own(self):
        texts = {m: signature(m, engine="e", data=TEST, seeds=[0, 1, 2], version="v") for m in METRICS}
        assert len(set(texts.values())) == len(METRICS)
        assert "|iou:.75|area:all|maxdet:100|" in texts["AP75"]
        assert "|iou:.50-.95|area:small|" in texts["AP_small"]
        assert "|maxdet:1|" in texts["AR1"]
        assert "|boxes:all second-stage boxes" in texts["mean_iou"]
        assert texts["refined_mean_iou"].endswith(
            "|boxes:truths jittered to IoU .5-1, refined once|data:bccd/test#3c1f9a2b|imgs:72|seeds:3|smoothiou:v"
        )


@pytest.fixture
def study(plan_of, finish, tmp_path: Path):
    """Give a function that writes a study: metrics by loss, one per seed; None for a cell that never ran."""

    def make(values: dict[str, list[dict | None]], **options) -> Path:
        seeds = tuple(range(len(next(iter(values.values())))))
        plan, _ = write_or_continue(tmp_path, plan_of(tuple(values), seeds, **options))
        for cell in plan["cells"]:
            metrics = values[cell["loss"]][cell["seed"]]
            if metrics is not None:
                finish(tmp_path, cell, **metrics)
        return tmp_path

    return make


def row(summary: dict, candidate: str, metric: str) -> dict:
    (found,) = [d for d in summary["differences"] if (d["candidate"], d["metric"]) == (candidate, metric)]
    return found


class TestCollect:
    def test_three_paired_seeds(self, study):
        summary = collect(
            study(
                {
                    "huber": [
                        {"AP": 0.46, "mean_iou": 0.200},
                        {"AP": 0.48, "mean_iou": 0.210},
                        {"AP": 0.50, "mean_iou": 0.205},
                    ],
                    "smooth-iou": [
                        {"AP": 0.47, "mean_iou": 0.204},
                        {"AP": 0.47, "mean_iou": 0.214},
                        {"AP": 0.52, "mean_iou": 0.210},
                    ],
                }
            )
        )
        assert summary["summary"]["huber"]["AP"] == {
            "mean": pytest.approx(0.48),
            "sd": pytest.approx(0.02),
            "n": 3,
            "values": {0: 0.46, 1: 0.48, 2: 0.50},
        }
        ap, iou = row(summary, "smooth-iou", "AP"), row(summary, "smooth-iou", "mean_iou")
        assert ap["mean"] == pytest.approx(0.02 / 3)
        assert (ap["wins"], ap["losses"], ap["n"], ap["verdict"]) == (2, 1, 3, "not distinguishable")
        assert iou["verdict"] == "better"
        assert summary["wins"]["AP"] == {"huber": 1, "smooth-iou": 2}
        assert summary["wins"]["mean_iou"] == {"huber": 0, "smooth-iou": 3}
        assert summary["wins"]["AP50"] == {"huber": 0, "smooth-iou": 0}  # ties are nobody's win
        assert summary["sentence"] == (
            "smooth-iou minus huber over 3 paired seeds on bccd/test: "
            "AP +0.7 points (95% interval -3.1 to +4.5), not distinguishable; "
            "AP75 +0.0 points (95% interval +0.0 to +0.0), not distinguishable; "
            "mean IoU of refined boxes +0.0000 (95% interval +0.0000 to +0.0000), not distinguishable."
        )
        assert summary["signatures"]["AP"].endswith("|data:bccd/test#3c1f9a2b|imgs:72|seeds:3|smoothiou:0.1.0")
        json.dumps(summary, allow_nan=False)

    def test_only_complete_pairs_are_compared_and_the_gaps_are_named(self, study):
        folder = study({"huber": [{"AP": 0.4}, {"AP": 0.4}, {"AP": 0.4}], "smooth-iou": [{"AP": 0.5}, None, None]})
        files.write_text(folder / "cells" / "smooth-iou-seed1" / "error.txt", "DivergedError: step 3\n\nTraceback")
        summary = collect(folder)
        ap = row(summary, "smooth-iou", "AP")
        assert (ap["n"], ap["seeds"], ap["low"]) == (1, [0], None)
        assert [cell["status"] for cell in summary["cells"]] == [
            "done",
            "done",
            "done",
            "failed",
            "done",
            "new",
        ]
        assert "smooth-iou-seed1 failed: DivergedError: step 3" in summary["notes"]
        assert "Not finished: smooth-iou-seed2." in summary["notes"]
        assert "Differences use only seeds that both losses finished." in summary["notes"]
        assert "over 1 paired seed of 3 planned on bccd/test: AP +10.0 points;" in summary["sentence"]
        assert summary["sentence"].endswith("One seed proves nothing: there is no interval over seeds.")
        assert "better" not in summary["sentence"]

    def test_with_one_seed_the_test_images_are_all_the_doubt_there_is(self, study):
        folder = study({"huber": [{"AP": 0.4}], "smooth-iou": [{"AP": 0.406}]})
        image_uncertainty = {
            "candidate": "smooth-iou",
            "seed": 0,
            "metric": "AP",
            "difference": 0.006,
            "resamples": 1000,
        }
        files.write_json(
            folder / "comparison.json",
            {"bootstrap": [{**image_uncertainty, "low": -0.002, "high": 0.014}], "gallery": []},
        )
        summary = collect(folder)
        assert summary["bootstrap"][0]["low"] == -0.002
        assert "AP +0.6 points (over test images alone -0.2 to +1.4);" in summary["sentence"]
        assert summary["sentence"].endswith("One seed proves nothing: there is no interval over seeds.")

    def test_a_baseline_that_has_learnt_nothing_is_said_to_prove_nothing(self, study):
        few, many = [{"AP50": 0.001}, {"AP50": 0.002}], [{"AP50": 0.05}, {"AP50": 0.06}]
        said = collect(study({"huber": few, "smooth-iou": many}))["sentence"]
        assert said.startswith("huber has learnt next to nothing (AP50 0.1 %): train longer first. smooth-iou minus ")
        assert "learnt next to nothing" not in collect(study({"huber": many, "smooth-iou": many}))["sentence"]

    def test_beside_a_baseline_that_has_learnt_nothing_no_one_is_better_or_worse(self, study):
        # Every AP falls by .03 and a little: worse beyond uncertainty, were the baseline any good.
        base = [{"AP50": 0.01, "AP": v} for v in (0.050, 0.052, 0.051)]
        other = [{"AP50": 0.01, "AP": v} for v in (0.020, 0.021, 0.0205)]
        summary = collect(study({"huber": base, "l2": other, "l1": other}))
        assert row(summary, "l2", "AP")["high"] < 0
        assert {entry["verdict"] for entry in summary["differences"]} == {"not distinguishable"}
        assert {entry["reason"] for entry in summary["differences"]} == {"huber has learnt next to nothing"}
        assert not re.search("better|worse|distinguishable", summary["sentence"])
        assert re.search(r"AP -3\.0 points \(95% interval \S+ to -\S+\); AP75", summary["sentence"])
        assert (summary["headline"]["kind"], summary["headline"]["text"][:9]) == ("unknown", "Not known")
        assert summary["sentence"].count("learnt next to nothing") == 1

    def test_seeds_that_all_gain_the_same_are_said_to_decide_nothing(self, study):
        # 2 of 50 boxes more on both seeds: +4 points with no spread, and two seeds are few anyway.
        summary = collect(study({"huber": [{"AP": 0.48}, {"AP": 0.40}], "iou": [{"AP": 0.52}, {"AP": 0.44}]}))
        assert (
            "AP +4.0 points (95% interval +4.0 to +4.0), not distinguishable "
            "(all seeds differ by the same amount: no spread to judge by);" in summary["sentence"]
        )

    def test_worse_is_said_as_plainly_as_better(self, study):
        base, bad = [{"AP": v} for v in (0.50, 0.52, 0.51)], [{"AP": v} for v in (0.40, 0.41, 0.41)]
        assert (
            "AP -10.3 points (95% interval -11.8 to -8.9), worse"
            in collect(study({"huber": base, "l2": bad}))["sentence"]
        )

    def test_several_candidates_have_a_sentence_each_and_wins_over_all(self, study):
        summary = collect(study({"huber": [{"AP": 0.4}] * 2, "giou": [{"AP": 0.5}] * 2, "iou": [{"AP": 0.3}] * 2}))
        assert summary["sentence"].count("minus huber over 2 paired seeds") == 2
        assert summary["wins"]["AP"] == {"huber": 0, "giou": 2, "iou": 0}
        assert {d["candidate"] for d in summary["differences"]} == {"giou", "iou"}
        assert any("about 1 in 20" in note for note in summary["notes"])

    def test_the_baseline_need_not_come_first(self, study):
        summary = collect(study({"smooth-iou": [{"AP": 0.5}], "huber": [{"AP": 0.4}]}, baseline="huber"))
        assert row(summary, "smooth-iou", "AP")["mean"] == pytest.approx(0.1)

    def test_one_loss_has_nothing_to_be_compared_with(self, study):
        summary = collect(study({"huber": [{"AP": 0.46}, {"AP": 0.48}]}))
        assert summary["differences"] == []
        assert summary["wins"]["AP"] == {"huber": 0}
        assert summary["sentence"] == (
            "huber on bccd/test, 2 seeds: AP 47.0 (sd 1.4), AP75 50.0 (sd 0.0), "
            "mean IoU of refined boxes 0.5000 (sd 0.0000); there is no other loss to compare with."
        )

    def test_undefined_metrics_are_left_out_pair_by_pair(self, study):
        summary = collect(
            study(
                {
                    "huber": [{"AP_large": None, "AP": None}, {"AP": 0.4}],
                    "iou": [{"AP_large": None}, {"AP": 0.5, "AP_large": None}],
                }
            )
        )
        large, ap = row(summary, "iou", "AP_large"), row(summary, "iou", "AP")
        assert (large["n"], large["mean"], large["verdict"]) == (0, None, "not distinguishable")
        assert (ap["n"], ap["seeds"]) == (1, [1])
        assert summary["summary"]["iou"]["AP_large"]["mean"] is None
        assert "iou minus huber over 2 paired seeds on bccd/test" in summary["sentence"]  # the other two have both

    def test_a_study_that_has_not_begun(self, study):
        summary = collect(study({"huber": [None], "iou": [None]}))
        assert summary["sentence"] == "No result yet: 0 of 2 cells are done."
        assert summary["signatures"] == {}
        assert row(summary, "iou", "AP")["n"] == 0

    def test_candidates_without_any_pair(self, study):
        summary = collect(study({"huber": [{}], "iou": [None]}))
        assert summary["sentence"] == "iou minus huber on bccd/test: no seed was finished by both."

    def test_cells_of_other_machines_and_versions_are_named(self, study, finish):
        folder = study({"huber": [{}], "iou": [{}]})
        file = folder / "cells" / "iou-seed0" / "result.json"
        result = json.loads(file.read_text())
        result["cost"]["device"], result["versions"]["torch"] = "cuda", "2.11.0"
        file.write_text(json.dumps(result))
        notes = collect(folder)["notes"]
        assert "The cells ran with different devices: cpu, cuda." in notes
        assert "The cells ran with different versions of torch: 2.11.0, 2.15.0." in notes

    def test_a_damaged_result_is_an_error_with_file_and_key(self, study):
        folder = study({"huber": [{}]})
        file = folder / "cells" / "huber-seed0" / "result.json"
        result = json.loads(file.read_text())
        del result["metrics"]["AP"]
        file.write_text(json.dumps(result))
        with pytest.raises(DataError, match=r"huber-seed0/result\.json: metrics\.AP"):
            collect(folder)

    def test_a_stale_result_is_no_result(self, study, plan_of):
        folder = study({"huber": [{}]})
        file = cell_folder(folder, plan_of(("huber",), (0,))["cells"][0]) / "result.json"
        file.write_text(file.read_text().replace('"hash": "', '"hash": "f'))
        assert collect(folder)["cells"][0]["status"] == "new"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("[]", "mapping.*list"),
            ('{"bootstrap": [{"candidate": "iou"}]}', r"bootstrap\[0\]: seed"),
        ],
    )
    def test_a_damaged_comparison_is_named(self, study, content: str, words: str):
        folder = study({"huber": [{}]})
        (folder / "comparison.json").write_text(content)
        with pytest.raises(DataError, match=words):
            collect(folder)

    def test_no_study(self, tmp_path: Path):
        with pytest.raises(DataError, match="no study"):
            collect(tmp_path)


def with_uncertainty(folder: Path, covariance: float, *, images: int = 80, candidate: str = "smooth-iou") -> Path:
    rows = [{"candidate": candidate, "metric": metric, "covariance": covariance, "seeds": 3} for metric in METRICS]
    files.write_json(folder / "comparison.json", {"covariances": rows, "images": images})
    return folder


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


@pytest.mark.slow
class TestRecomputed:
    """The intervals of a small study from its files, by numpy, scipy and pycocotools alone."""

    def test_they_agree(self, plan_of, finish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        import numpy as np
        from scipy import stats

        from smoothiou.metrics import draw_images, evaluate_detections
        from smoothiou.study import comparison
        from tests.metrics.test_bootstrap import repeated, shifted
        from tests.metrics.test_coco import random_set, reference

        images, draws, seeds = 12, 30, (0, 1, 2)
        gt, base = random_set(21, images=images, classes=2)
        plan, _ = write_or_continue(tmp_path, plan_of(("huber", "smooth-iou"), seeds))
        runs = {}
        for cell in plan["cells"]:
            by = 3.0 + cell["seed"] + (2.5 + 0.7 * cell["seed"] if cell["loss"] == "huber" else 0)
            runs[cell["loss"], cell["seed"]] = found = shifted(base, by)
            home = finish(tmp_path, cell, AP=evaluate_detections(gt, found)["AP"])
            files.write_json(home / "predictions.json", found)
            files.write_json(home / "localization.json", {"images": []})
        monkeypatch.setattr(comparison, "DRAWS", draws)
        done = {(cell["loss"], cell["seed"]): cell_folder(tmp_path, cell) for cell in plan["cells"]}
        uncertainty = comparison._image_uncertainty(plan, comparison._draw(gt, done))
        files.write_json(tmp_path / "comparison.json", {**uncertainty, "images": images})
        entry = row(collect(tmp_path), "smooth-iou", "AP")

        ap = lambda found, counts: reference(*repeated(gt, found, counts)).stats[0]  # noqa: E731
        counts = draw_images(images, resamples=draws)
        gain = lambda seed, n: ap(runs["smooth-iou", seed], n) - ap(runs["huber", seed], n)  # noqa: E731
        drawn = np.array([[gain(seed, n) for n in counts] for seed in seeds])
        whole = np.array([gain(seed, np.ones(images, dtype=int)) for seed in seeds])
        matrix = np.cov(drawn)
        c = (matrix.sum() - np.trace(matrix)) / 6
        assert entry["covariance"] == pytest.approx(c, rel=1e-12)
        part, c = whole.var(ddof=1) / 3, max(c, 0)
        nu = (part + c) ** 2 / (part**2 / 2 + c**2 / (images - 1))
        half = stats.t.ppf(0.975, nu) * math.sqrt(part + c)
        assert entry["mean"] == pytest.approx(whole.mean(), rel=1e-12)
        assert (entry["low"], entry["high"]) == pytest.approx((whole.mean() - half, whole.mean() + half), rel=1e-9)
        for pair in (r for r in uncertainty["bootstrap"] if r["metric"] == "AP"):
            ends = np.percentile(drawn[pair["seed"]], [2.5, 97.5])
            assert (pair["low"], pair["high"]) == pytest.approx(tuple(ends), abs=1e-14)
