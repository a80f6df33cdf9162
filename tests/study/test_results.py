"""What a study says of itself: complete pairs only, every gap named, never more than the numbers allow."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from smoothiou import files
from smoothiou.errors import DataError
from smoothiou.study import cell_folder, collect, signature, validate_result
from smoothiou.study.results import METRICS
from tests.study.conftest import result_of, row

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
