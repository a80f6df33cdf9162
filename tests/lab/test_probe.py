"""Runs and studies by their probes: what is measured again is what was recorded, and only equal boxes are compared."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from smoothiou.engine.checkpoint import load_checkpoint, save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.open_data import describe_data, open_splits, open_test
from smoothiou.engine.train import run
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.lab.probe import probe_runs, require_boxes
from smoothiou.metrics import probe_numbers
from smoothiou.study import cell_folder, make_plan, write_or_continue
from smoothiou.study.comparison import compare_cells
from smoothiou.study.probes import compare_probes
from tests.engine.tiny import TINY


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Four tiny runs: two losses, two seeds."""
    home = tmp_path_factory.mktemp("runs")
    for loss in ("huber", "iou"):
        for seed in (0, 1):
            config = RunConfig().replace({**TINY, "loss.name": loss, "train.seed": seed})
            run(config, home / f"{loss}{seed}", quiet=True)
    return {path.name: path for path in home.iterdir()}


def copied(folder: Path, target: Path, **edits: tuple[str, str]) -> Path:
    shutil.copytree(folder, target)
    path = target / "config.toml"
    text = path.read_text()
    for old, new in edits.values():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return target


class TestRuns:
    def test_measured_anew_a_run_says_what_it_recorded_to_the_last_digit(self, runs):
        fresh, recorded = (probe_runs([runs["huber0"]], fresh=fresh, quiet=True) for fresh in (True, False))
        assert fresh["groups"] == recorded["groups"]
        result = json.loads((runs["huber0"] / "result.json").read_text())["localization"]
        for key in ("refined_mean_iou", "refined_above_75", "refined_above_85", "refined_above_90"):
            assert recorded["groups"]["huber"]["0"][key] == pytest.approx(result[key], abs=1e-5)
        assert result["probe"] == recorded["probe"] == {"iou": [0.5, 1.0], "per_box": 10, "seed": 0}

    def test_what_a_finished_run_recorded_needs_neither_weights_nor_data(self, runs, tmp_path):
        moved = copied(runs["huber0"], tmp_path / "RUN", path=('path = "shapes"', 'path = "nowhere"'))
        (moved / "last.ckpt").unlink()
        assert probe_runs([moved])["groups"].keys() == {"huber"}
        with pytest.raises(CheckpointError, match="checkpoint"):
            probe_runs([moved], fresh=True)

    def test_a_run_of_an_older_version_is_measured_now(self, runs, tmp_path):
        old = copied(runs["huber0"], tmp_path / "RUN")
        result = json.loads((old / "result.json").read_text())
        del result["localization"]["probe"]
        (old / "result.json").write_text(json.dumps(result))
        assert probe_runs([old], quiet=True)["groups"] == probe_runs([runs["huber0"]])["groups"]

    def test_runs_of_one_loss_are_a_group_and_groups_are_paired_by_seed(self, runs):
        found = probe_runs([runs[name] for name in ("huber0", "iou1", "huber1", "iou0")])
        assert {name: list(seeds) for name, seeds in found["groups"].items()} == {
            "huber": ["0", "1"],
            "iou": ["0", "1"],
        }
        row = next(row for row in found["differences"] if row["metric"] == "refined_mean_iou")
        assert (row["candidate"], row["baseline"], row["seeds"], row["n"]) == ("iou", "huber", [0, 1], 2)
        numbers = {
            name: probe_numbers(json.loads((path / "localization.json").read_text())["images"])["refined_mean_iou"]
            for name, path in runs.items()
        }
        pairs = [numbers[f"iou{seed}"] - numbers[f"huber{seed}"] for seed in (0, 1)]
        assert row["pairs"] == pytest.approx(pairs, abs=1e-9)
        assert row["mean"] == pytest.approx(np.mean(pairs), abs=1e-9)
        assert row["images"]["low"] <= row["mean"] <= row["images"]["high"]

    def test_runs_of_the_same_loss_and_seed_stand_alone_by_the_names_of_their_folders(self, runs, tmp_path):
        found = probe_runs([runs["huber0"], copied(runs["huber0"], tmp_path / "again")], baseline="again")
        assert found["groups"].keys() == {"huber0", "again"}
        assert {row["candidate"] for row in found["differences"]} == {"huber0"}
        assert {row["mean"] for row in found["differences"]} == {0.0}
        assert {row["verdict"] for row in found["differences"]} == {"not distinguishable"}

    def test_a_study_stands_for_its_finished_cells_and_its_comparison_says_the_same(self, tmp_path):
        config = RunConfig().replace(TINY)
        splits = open_splits(config.data)
        plan = make_plan(
            config, losses=["huber", "iou", "l1"], seeds=[0], baseline="iou", data=describe_data(splits),
            classes=splits.train.classes, command=["smoothiou"],
        )  # fmt: skip
        plan, _ = write_or_continue(tmp_path, plan)
        with pytest.raises(DataError, match="done"):
            probe_runs([tmp_path])
        for cell in plan["cells"][:2]:
            run(RunConfig().replace(cell["settings"]), cell_folder(tmp_path, cell), quiet=True)
        found = probe_runs([tmp_path])
        assert found["baseline"] == "iou"
        assert found["groups"].keys() == {"huber", "iou"}
        compare_cells(tmp_path, plan)
        comparison = json.loads((tmp_path / "comparison.json").read_text())["probe"]
        assert comparison["differences"] == found["differences"]
        assert comparison["groups"] == found["groups"]

    def test_another_split_is_measured(self, runs):
        found = probe_runs([runs["huber0"]], split="train", quiet=True)
        assert found["data"]["split"] == "train"


class TestRefused:
    def test_no_run_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="no run"):
            probe_runs([tmp_path])

    def test_nothing_or_one_run_twice(self, runs):
        with pytest.raises(ConfigError, match="none"):
            probe_runs([])
        with pytest.raises(ConfigError, match=r"huber0 twice"):
            probe_runs([runs["huber0"], runs["huber0"]])

    def test_runs_of_other_data_with_both_named(self, runs, tmp_path):
        config = RunConfig().replace({**TINY, "data.images": 9, "train.seed": 1})
        run(config, tmp_path / "RUN", quiet=True)
        with pytest.raises(DataError, match="huber0.*RUN"):
            probe_runs([runs["huber0"], tmp_path / "RUN"])

    def test_a_run_whose_data_has_other_classes_now(self, runs, tmp_path):
        other = copied(runs["huber0"], tmp_path / "RUN")
        content = load_checkpoint(other / "last.ckpt")
        save_checkpoint(other / "last.ckpt", {**content, "classes": ["a", "b", "c", "d", "e"]})
        with pytest.raises(DataError, match="classes"):
            probe_runs([other], fresh=True)

    def test_an_unknown_baseline(self, runs):
        with pytest.raises(ConfigError, match="--baseline"):
            probe_runs([runs["huber0"]], baseline="iou")

    def test_a_split_without_boxes(self):
        data = open_test(RunConfig().replace(TINY).data)
        records = tuple(dataclasses.replace(record, boxes=()) for record in data.records)
        with pytest.raises(DataError, match="shapes/test"):
            require_boxes(dataclasses.replace(data, records=records))


def image(number: int, after: list[float]) -> dict:
    return {"image_id": number, "before": [0.6, 0.7, 0.8], "refined": after}


def gained(gains: list[float]) -> list[dict]:
    return [image(n, [0.7 + gain, 0.75 + gain, 0.8 + gain]) for n, gain in enumerate(gains)]


class TestVerdict:
    """Better or worse is said only where seeds and images agree; of one pair, the images alone can speak."""

    BASE = gained([0.0] * 30)

    def verdict(self, *seeds: list[float]) -> str:
        groups = {
            "huber": dict.fromkeys(range(len(seeds)), self.BASE),
            "iou": {seed: gained(gains) for seed, gains in enumerate(seeds)},
        }
        rows = compare_probes(groups, baseline="huber", resamples=200)["differences"]
        return next(row["verdict"] for row in rows if row["metric"] == "refined_mean_iou")

    def test_a_gain_on_every_seed_and_image_is_better_and_the_reverse_worse(self):
        assert self.verdict([0.01] * 30, [0.012] * 30, [0.011] * 30) == "better"
        assert self.verdict([-0.01] * 30, [-0.012] * 30, [-0.011] * 30) == "worse"

    def test_seeds_that_disagree_are_not_distinguishable_however_sure_the_images_are(self):
        assert self.verdict([0.02] * 30, [-0.005] * 30) == "not distinguishable"

    def test_images_that_disagree_are_not_distinguishable_however_sure_the_seeds_are(self):
        uneven = [0.3, *[-0.009] * 29]
        assert self.verdict(uneven, uneven, uneven) == "not distinguishable"

    def test_of_one_pair_the_images_decide(self):
        assert self.verdict([0.01] * 30) == "better"

    def test_groups_of_one_run_each_are_compared_whatever_their_seeds(self):
        groups = {"huber": {3: self.BASE}, "iou": {8: gained([0.01] * 30)}, "l1": {1: self.BASE, 2: self.BASE}}
        found = compare_probes(groups, baseline="huber", resamples=10)
        assert {row["candidate"] for row in found["differences"]} == {"iou"}
