"""Box regressors on stored crops: what they are given, that losses are paired, and that no cell is trained twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from smoothiou.boxes import aligned_iou, encode_boxes
from smoothiou.data.dataset import DetectionDataset
from smoothiou.detectors import detect
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.checkpoint import load_checkpoint, save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.open_data import open_splits
from smoothiou.engine.train import run
from smoothiou.errors import CheckpointError, ConfigError, DataError, DivergedError
from smoothiou.lab.crops import Crops, probe_crops, training_crops
from smoothiou.lab.probe import probe_runs
from smoothiou.lab.refit import refit
from smoothiou.lab.regressor import (
    Refit,
    Regressor,
    hidden_crops,
    mean_iou,
    refined_boxes,
    train_regressor,
)
from smoothiou.losses import load_loss
from smoothiou.metrics import jittered_probes

TINY = {
    "data.path": "shapes", "data.images": 8, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
    "train.steps": 1, "train.batch_size": 2, "train.device": "cpu", "train.precision": "fp32", "loss.name": "huber",
}  # fmt: skip
SHORT = Refit(steps=4, batch=16, boxes=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("runs") / "RUN"
    run(RunConfig().replace(TINY), home, quiet=True)
    return home


@pytest.fixture(scope="module")
def opened(folder) -> OpenedRun:
    return open_run(folder, checkpoint="last", device=None)


@pytest.fixture(scope="module")
def splits(opened):
    return open_splits(opened.config.data)


@pytest.fixture(scope="module")
def crops(opened, splits) -> Crops:
    return training_crops(opened, splits.train, boxes=300, flip=True, quiet=True)


@pytest.fixture(scope="module")
def test(opened, splits) -> Crops:
    return probe_crops(opened, splits.test, boxes=10_000, quiet=True)


def loss_of(name: str, **options) -> StageLoss:
    return StageLoss(loss=load_loss(name, **options), name=name)


class TestCrops:
    def test_what_is_learnt_from_lies_on_its_truth_and_belongs_to_its_class(self, crops, opened, splits):
        assert len(crops) >= 300
        iou = aligned_iou(crops.proposals, crops.gt_boxes)
        assert float(iou.min()) >= 0.5 - 1e-4
        truths = {
            (number, splits.train.classes.index(box.label) + 1, round(box.xyxy[2] - box.xyxy[0], 2))
            for number, record in enumerate(splits.train.records, 1)
            for box in record.boxes
        }
        widths = (crops.gt_boxes[:, 2] - crops.gt_boxes[:, 0]).tolist()
        found = set(zip(crops.image_ids.tolist(), crops.labels.tolist(), (round(w, 2) for w in widths), strict=True))
        assert found <= truths
        assert crops.features.dtype == torch.float16
        assert crops.features.shape[1:] == (opened.model.roi_heads.box_roi_pool(  # type: ignore[union-attr,operator]
            {"0": torch.zeros(1, 128, 4, 4)}, [torch.zeros(1, 4)], [(64, 64)]
        ).shape[1:])  # fmt: skip

    def test_the_same_boxes_come_again_and_mirrored_images_are_among_them(self, crops, opened, splits):
        again = training_crops(opened, splits.train, boxes=300, flip=True, quiet=True)
        assert all(torch.equal(getattr(crops, f.name), getattr(again, f.name)) for f in dataclasses.fields(crops))
        straight = training_crops(opened, splits.train, boxes=10_000, flip=False, quiet=True)
        both = training_crops(opened, splits.train, boxes=10_000, flip=True, quiet=True)
        assert len(both) > 1.5 * len(straight)
        assert torch.equal(both.proposals[: len(straight)], straight.proposals)

    def test_what_is_tested_on_are_the_probes_of_the_project(self, test, splits):
        assert len(test) == 10 * sum(len(record.boxes) for record in splits.test.records)
        for number, record in enumerate(splits.test.records, 1):
            probes = jittered_probes([b.xyxy for b in record.boxes], image_id=number, image_size=(64, 64))
            assert torch.allclose(
                test.proposals[test.image_ids == number].double(), torch.from_numpy(probes), atol=1e-4
            )

    def test_a_crop_is_what_the_detector_sees(self, opened, splits, test):
        # The trained head on the kept crops gives the boxes that a pass of the whole detector gives.
        heads = opened.model.roi_heads
        regressor = Regressor(heads, depth="head").eval()
        image = DetectionDataset(splits.test, cache_mb=0)[0][0]
        rows = torch.where(test.image_ids == 1)[0]
        whole = detect(
            opened.model, [image.float() / 255], probes=[(test.proposals[rows], test.labels[rows])]
        )[0]["probe_boxes"]  # fmt: skip
        kept = refined_boxes(regressor, test[rows], placement=opened.placement)
        assert torch.allclose(kept, whole, atol=0.05)  # pixels; crops are kept in half precision

    def test_enough_is_enough(self, opened, splits):
        one = probe_crops(opened, splits.test, boxes=1, quiet=True)
        assert one.images <= 8
        assert len(one) <= len(probe_crops(opened, splits.test, boxes=10**6, quiet=True))

    def test_a_split_without_boxes_has_no_crop(self, opened, splits):
        empty = tuple(dataclasses.replace(record, boxes=()) for record in splits.train.records)
        with pytest.raises(DataError, match="shapes/train"):
            training_crops(opened, dataclasses.replace(splits.train, records=empty), boxes=1, flip=True, quiet=True)


class TestRegressor:
    def trained(self, opened, crops, test, loss: StageLoss, *, seed: int = 0, steps: int = 3, depth: str = "head"):
        regressor = Regressor(opened.model.roi_heads, depth=depth)
        curve = train_regressor(
            regressor, crops, test, loss, Refit(steps=steps, batch=16), seed=seed, placement=opened.placement,
            on_evaluation=lambda step, iou: None,
        )  # fmt: skip
        return regressor, curve

    def test_losses_of_one_seed_start_alike_and_seeds_do_not(self, opened, crops, test):
        starts = {
            (name, seed): self.trained(opened, crops, test, loss_of(name), seed=seed, steps=1)[1][0]["test"]
            for name in ("huber", "iou")
            for seed in (0, 1)
        }
        assert starts["huber", 0] == starts["iou", 0]
        assert starts["huber", 1] == starts["iou", 1]
        assert starts["huber", 0] != starts["huber", 1]

    def test_losses_of_one_seed_meet_the_same_boxes_as_anchors_with_the_deltas_of_their_class(
        self, opened, crops, test
    ):
        given: dict[str, list] = {"a": [], "b": []}

        def watch(name: str):
            def loss(pred_deltas, target_deltas, *, weights, anchors):
                given[name].append((target_deltas.clone(), anchors.clone(), weights))
                return (pred_deltas - target_deltas).abs().sum(1)

            return StageLoss(loss=loss, name=name)

        for name in given:
            self.trained(opened, crops, test, watch(name))
        for (target, anchors, weights), (again, same, _) in zip(given["a"], given["b"], strict=True):
            assert torch.equal(target, again)
            assert torch.equal(anchors, same)
            assert tuple(weights) == (10.0, 10.0, 5.0, 5.0)
            rows = [int(torch.where((crops.proposals == anchor).all(1))[0][0]) for anchor in anchors]
            expected = encode_boxes(crops.gt_boxes[rows], crops.proposals[rows], weights=weights)
            assert torch.allclose(target, expected, atol=1e-5)
        assert len(given["a"]) == 3

    def test_training_makes_boxes_tighter_and_leaves_the_detector_as_it_was(self, opened, crops, test):
        before = {key: value.clone() for key, value in opened.model.state_dict().items()}
        regressor, curve = self.trained(opened, crops, test, loss_of("iou"), steps=60)
        assert curve[-1]["step"] == 60
        assert curve[-1]["train"] > curve[1]["train"] + 0.008
        assert curve[-1]["test"] == pytest.approx(mean_iou(regressor, test, placement=opened.placement))
        assert all(torch.equal(value, before[key]) for key, value in opened.model.state_dict().items())

    @pytest.mark.parametrize("name", ["iou", "huber"])
    @pytest.mark.slow
    def test_a_factor_on_a_loss_changes_nothing(self, opened, crops, test, name):
        # Powers of two, which round nothing: what is left is AdamW's epsilon beside gradients that are next to zero.
        ends = [
            self.trained(opened, crops, test, dataclasses.replace(loss_of(name), weight=weight), steps=20)[1]
            for weight in (1.0, 8.0, 1 / 64)
        ]
        tests = [[point["test"] for point in curve] for curve in ends]
        assert tests[1] == pytest.approx(tests[0], abs=1e-5)
        assert tests[2] == pytest.approx(tests[0], abs=1e-5)

    def test_the_last_layer_alone_learns_on_the_trained_head(self, opened, crops, test):
        heads = opened.model.roi_heads
        hidden = hidden_crops(test, heads.box_head, opened.placement)
        assert hidden.features.shape == (len(test), 256)
        kept = hidden_crops(crops, heads.box_head, opened.placement)
        regressor, _ = self.trained(opened, kept, hidden, loss_of("huber"), depth="last")
        assert sum(p.numel() for p in regressor.parameters()) == 256 * 24 + 24  # 6 classes with the background

    def test_a_loss_that_becomes_infinite_is_named(self, opened, crops, test):
        loss = StageLoss(loss=lambda pred_deltas, target_deltas, **_: pred_deltas.sum(1) / 0.0, name="mine")
        with pytest.raises(DivergedError, match="mine seed 0"):
            self.trained(opened, crops, test, loss)

    def test_another_predictor_is_refused(self, opened):
        class Heads:
            box_predictor = torch.nn.Identity()

        with pytest.raises(ConfigError, match="bbox_pred"):
            Regressor(Heads(), depth="head")


class TestFolder:
    def test_results_are_paired_kept_and_extended(self, folder, tmp_path):
        out = tmp_path / "OUT"
        first = refit(folder, losses=("huber", "iou"), seeds=(0,), out=out, settings=SHORT, quiet=True)
        assert first["groups"].keys() == {"huber", "iou"}
        assert first["failed"] == []
        starts = {cell["curve"][0]["test"] for cell in first["cells"]}
        assert len(starts) == 1, "losses of one seed start from the same weights"
        assert first["groups"]["huber"]["0"]["probes"] == first["refit"]["test_boxes"]
        assert first["refit"]["train_boxes"] >= 200
        files = {path: path.stat().st_mtime_ns for path in out.rglob("seed*.json")}
        again = refit(folder, losses=("huber", "iou"), seeds=(0,), out=out, settings=SHORT, quiet=True)
        assert again == first
        assert {path: path.stat().st_mtime_ns for path in out.rglob("seed*.json")} == files

        grown = refit(folder, losses=("huber", "giou"), seeds=(0, 1), out=out, settings=SHORT, quiet=True)
        assert {name: list(seeds) for name, seeds in grown["groups"].items()} == {
            "huber": ["0", "1"], "iou": ["0"], "giou": ["0", "1"],
        }  # fmt: skip
        assert all(path.stat().st_mtime_ns == time for path, time in files.items())
        assert next(row["n"] for row in grown["differences"] if row["candidate"] == "giou") == 2

    def test_a_training_that_was_lost_is_done_alone_and_ends_as_before(self, folder, tmp_path):
        out = tmp_path / "OUT"
        first = refit(folder, losses=("huber", "iou"), seeds=(0,), out=out, settings=SHORT, quiet=True)
        (out / "cells" / "iou" / "seed0.json").unlink()
        again = refit(folder, losses=("huber", "iou"), seeds=(0,), out=out, settings=SHORT, quiet=True)
        assert again["groups"] == first["groups"]

    def test_the_probes_are_those_of_the_probe_command(self, folder, tmp_path):
        found = refit(folder, losses=("huber",), seeds=(0,), out=tmp_path / "OUT", settings=SHORT, quiet=True)
        run_itself = probe_runs([folder])["groups"]["huber"]["0"]
        own = found["groups"]["huber"]["0"]
        assert own["probes"] == run_itself["probes"]
        assert own["mean_before"] == pytest.approx(run_itself["mean_before"], abs=1e-5)

    def test_other_settings_are_refused_with_their_names_and_overwrite_starts_anew(self, folder, tmp_path):
        out = tmp_path / "OUT"
        refit(folder, losses=("huber",), seeds=(0, 1), out=out, settings=SHORT, quiet=True)
        (out / "notes.txt").write_text("mine")
        other = dataclasses.replace(SHORT, steps=5)
        with pytest.raises(ConfigError, match="steps: 4"):
            refit(folder, losses=("huber",), seeds=(0,), out=out, settings=other, quiet=True)
        anew = refit(folder, losses=("iou",), seeds=(0,), out=out, settings=other, overwrite=True, quiet=True)
        assert anew["groups"].keys() == {"iou"}
        assert (out / "notes.txt").read_text() == "mine"

    def test_a_loss_that_diverges_does_not_stop_the_others_and_is_named(self, folder, tmp_path, monkeypatch):
        (tmp_path / "infinite.py").write_text(
            "def loss(pred, target, *, weights, anchors):\n    return pred.sum(1) / (0.0 if len(pred) > 2 else 1.0)\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        found = refit(
            folder, losses=("huber", "infinite:loss", "iou"), seeds=(0,), out=tmp_path / "OUT", settings=SHORT,
            quiet=True,
        )  # fmt: skip
        assert found["groups"].keys() == {"huber", "iou"}
        assert [cell["loss"] for cell in found["failed"]] == ["infinite:loss"]
        assert "NaN or infinite" in found["failed"][0]["error"]

    def test_what_cannot_be_trained_is_refused_before_anything_is_written(self, folder, tmp_path):
        out = tmp_path / "OUT"
        common = {"seeds": (0,), "out": out, "quiet": True}
        with pytest.raises(ConfigError, match="hubr"):
            refit(folder, losses=("hubr",), **common)
        with pytest.raises(CheckpointError, match="no run"):
            refit(tmp_path, losses=("huber",), **common)
        with pytest.raises(ConfigError, match="--steps"):
            Refit(steps=0)
        with pytest.raises(ConfigError, match="--test-boxes"):
            Refit(test_boxes=0)
        with pytest.raises(ConfigError, match="--rate"):
            Refit(rate=0)
        assert not out.exists()
        out.mkdir()
        (out / "photo.jpg").write_text("")
        with pytest.raises(ConfigError, match="no refit"):
            refit(folder, losses=("huber",), **common)

    def test_other_classes_are_refused(self, folder, tmp_path):
        other = tmp_path / "RUN"
        shutil.copytree(folder, other)
        content = load_checkpoint(other / "last.ckpt")
        save_checkpoint(other / "last.ckpt", {**content, "classes": ["a", "b", "c", "d", "e"]})
        with pytest.raises(DataError, match="classes"):
            refit(other, losses=("huber",), seeds=(0,), out=tmp_path / "OUT", quiet=True)

    def test_the_run_whose_trunk_is_used_stays_finished(self, folder):
        refit(folder, losses=("huber",), seeds=(0,), out=folder / "refit", settings=SHORT, quiet=True)
        before = (folder / "result.json").read_bytes()
        assert run(RunConfig().replace(TINY), folder, quiet=True) == json.loads(before)
        assert (folder / "result.json").read_bytes() == before

    def test_a_cell_file_holds_every_box(self, folder, tmp_path):
        out = tmp_path / "OUT"
        refit(folder, losses=("huber",), seeds=(3,), out=out, settings=SHORT, quiet=True)
        cell = json.loads((out / "cells" / "huber" / "seed3.json").read_text())
        boxes = sum(len(entry["refined"]) for entry in cell["images"])
        assert boxes == sum(len(entry["before"]) for entry in cell["images"])
        assert (cell["loss"], cell["seed"]) == ("huber", 3)
