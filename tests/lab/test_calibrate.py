"""Calibration against answers known beforehand, and against the gradients of a real training step."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from smoothiou.data.dataset import DetectionDataset
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build
from smoothiou.engine.devices import choose_placement
from smoothiou.engine.loading import draw_batches
from smoothiou.engine.loop import to_device
from smoothiou.engine.open_data import Splits, open_splits
from smoothiou.engine.seeding import seed_step, seed_weights
from smoothiou.engine.train import run as run_cell
from smoothiou.engine.train import train_detector
from smoothiou.errors import ConfigError, DataError
from smoothiou.lab.calibrate import default_steps, propose_weights, rounded, suggested_weight
from smoothiou.lab.stage_gradients import Positives, capture_positives, pulls
from smoothiou.losses import load_loss

HERE = "tests.lab.test_calibrate"
CONFIG = RunConfig().replace(
    {
        "data.path": "shapes", "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
        "train.steps": 8, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
    }
)  # fmt: skip
UNIT = (1.0, 1.0, 1.0, 1.0)


def twice_huber(pred: Tensor, target: Tensor, *, weights: Any, anchors: Tensor) -> Tensor:
    return 2 * load_loss("huber")(pred, target, weights=weights, anchors=anchors)


def constant(pred: Tensor, target: Tensor, *, weights: Any, anchors: Tensor) -> Tensor:
    return torch.ones(len(pred))


def steep(pred: Tensor, target: Tensor, *, weights: Any, anchors: Tensor) -> Tensor:
    return (pred - pred.detach()).sum(1).sqrt()  # a finite value, an infinite gradient


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_splits(CONFIG.data)


@pytest.fixture(scope="module")
def found(splits: Splits) -> dict[str, Any]:
    losses = ["huber", "l1", "iou", "smooth-iou", f"{HERE}:twice_huber"]
    return propose_weights(CONFIG, losses=losses, batches=3, steps=2, seed=5, splits=splits, quiet=True)


def loss_of(name: str, *, weight: float = 1.0) -> StageLoss:
    return StageLoss(loss=load_loss(name), name=name, weight=weight)


def positives_of(pred: list[list[float]], *, sampled: int = 1, weights: Any = UNIT) -> Positives:
    """Return positives with target deltas of 0, so that the predictions are the errors."""
    deltas = torch.tensor(pred)
    anchors = torch.tensor([[10.0, 10, 26, 26]]).repeat(len(deltas), 1)
    return Positives(
        pred_deltas=deltas, target_deltas=torch.zeros_like(deltas), weights=weights, anchors=anchors, sampled=sampled
    )


class TestPulls:
    def test_of_losses_whose_gradient_is_known_by_hand(self):
        # d L2 = z, d L1 = sign z, d Huber = z up to 1 and its sign beyond.
        positives = positives_of([[3.0, 0, 0, -4.0], [0.3, 0.4, 0, 0], [2, -2, 5, 0.5]])
        assert pulls(loss_of("l2"), positives).tolist() == pytest.approx([5, 0.5, 33.25**0.5])
        assert pulls(loss_of("l1"), positives).tolist() == pytest.approx([2**0.5, 2**0.5, 2])
        assert pulls(loss_of("huber"), positives).tolist() == pytest.approx([2**0.5, 0.5, 3.25**0.5])

    def test_do_not_depend_on_how_many_boxes_a_stage_samples(self):
        few, many = (positives_of([[0.3, 0.4, 0, 0]], sampled=sampled) for sampled in (1, 512))
        assert pulls(loss_of("l2"), few).item() == pytest.approx(pulls(loss_of("l2"), many).item(), rel=1e-6)

    def test_grow_with_the_weight_and_are_float64_of_the_right_length(self):
        positives = positives_of([[0.3, 0.4, 0, 0]] * 3)
        once, thrice = (pulls(loss_of("smooth-iou", weight=weight), positives) for weight in (1.0, 3.0))
        assert once.shape == (3,)
        assert once.dtype == torch.float64
        assert thrice.tolist() == pytest.approx((3 * once).tolist(), rel=1e-6)

    @pytest.mark.parametrize("name", ["huber", "iou", "smooth-iou"])
    def test_of_no_positives_are_none(self, name: str):
        positives = positives_of([[0.3, 0.4, 0, 0]])
        empty = replace(
            positives,
            **{key: getattr(positives, key)[:0] for key in ("pred_deltas", "target_deltas", "anchors")},
        )
        assert pulls(loss_of(name), empty).shape == (0,)

    def test_leave_the_positives_without_a_graph(self):
        positives = positives_of([[0.3, 0.4, 0, 0]])
        pulls(loss_of("huber"), positives)
        assert not positives.pred_deltas.requires_grad

    def test_hubers_fades_near_the_target_and_that_of_an_overlap_loss_does_not(self):
        far, near = (positives_of([[share * 2.0, share, -share, share]], weights=(10, 10, 5, 5)) for share in (1, 0.1))
        ratios = [(pulls(loss_of("huber"), p) / pulls(loss_of("iou"), p)).item() for p in (far, near)]
        assert ratios[1] < 0.2 * ratios[0]


class TestCapture:
    @pytest.fixture
    def model(self, splits: Splits):
        seed_weights(5)
        model: Any = build(CONFIG, classes=len(splits.train.classes))
        for stage in (model.rpn, model.roi_heads):  # so few that it matters which ones are drawn
            stage.fg_bg_sampler.batch_size_per_image = 6
        return model

    def capture(self, model, splits: Splits, *, steps: int = 2):
        place = choose_placement("cpu", "fp32")
        images = DetectionDataset(splits.train, cache_mb=64)
        batches = draw_batches(images, CONFIG, place, start=0, steps=steps)
        return capture_positives(model, batches, stages=("rpn", "roi"), seed=5, start=0, placement=place)

    @pytest.mark.parametrize("loss", ["huber", "smooth-iou", "iou"])
    def test_the_gradient_is_that_of_a_training_step(self, splits: Splits, model, loss: str):
        captured = self.capture(model, splits, steps=1)
        given: dict[str, tuple[Tensor, int]] = {}
        for stage, module in (("rpn", model.rpn), ("roi", model.roi_heads)):
            real = loss_of(loss)

            def watch(pred, target, *, sampled, stage=stage, real=real, **others):
                pred.retain_grad()
                given[stage] = (pred, sampled)
                return real(pred, target, sampled=sampled, **others)

            watch.loss = real.loss  # by which a stage sees what it is to give
            module.box_loss = watch
        place = choose_placement("cpu", "fp32")
        images = DetectionDataset(splits.train, cache_mb=64)
        (batch,) = draw_batches(images, CONFIG, place, start=0, steps=1)
        seed_step(5, 0)
        model.train()
        sum(model(*to_device(*batch, place.device)).values()).backward()
        for stage, (pred, sampled) in given.items():
            expected = pred.grad.double().norm(dim=1) * sampled
            assert len(expected) > 0
            assert captured[stage][0].sampled == sampled
            assert torch.equal(captured[stage][0].pred_deltas, pred.detach())
            assert pulls(loss_of(loss), captured[stage][0]).tolist() == pytest.approx(expected.tolist(), rel=1e-6)

    def test_leaves_model_and_losses_as_they_were(self, splits: Splits, model):
        model.eval()
        before = copy.deepcopy(model.state_dict())
        losses = (model.rpn.box_loss, model.roi_heads.box_loss)
        self.capture(model, splits)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert (model.rpn.box_loss, model.roi_heads.box_loss) == losses
        assert all(loss.last is None and loss.weight == 1.0 for loss in losses)
        assert not model.training
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_gives_an_entry_for_each_batch_and_no_graph(self, splits: Splits, model):
        captured = self.capture(model, splits, steps=3)
        assert {stage: len(taken) for stage, taken in captured.items()} == {"rpn": 3, "roi": 3}
        assert not any(p.pred_deltas.requires_grad for taken in captured.values() for p in taken)
        assert captured["rpn"][0].weights == UNIT
        assert captured["roi"][0].weights == (10.0, 10.0, 5.0, 5.0)


class TestProposal:
    def test_the_reference_keeps_weight_1_and_half_of_twice_the_loss_is_the_loss(self, found):
        assert found["weights"]["huber"] == {"rpn": 1.0, "roi": 1.0}
        assert found["weights"][f"{HERE}:twice_huber"] == {"rpn": 0.5, "roi": 0.5}
        for stage in ("rpn", "roi"):
            for entry in found["losses"][f"{HERE}:twice_huber"][stage].values():
                assert (entry["ratio"], entry["low"], entry["high"]) == (0.5, 0.5, 0.5)

    def test_l1_pulls_with_2_at_every_box_of_four_wrong_codes(self, found):
        for entry in found["losses"]["l1"]["rpn"].values():
            assert entry["mean"] == pytest.approx(2.0, rel=1e-3)
            assert entry["rms"] == pytest.approx(2.0, rel=1e-3)

    def test_with_its_weight_each_loss_pulls_as_the_reference_does(self, found, splits: Splits):
        seed_weights(5)
        config = CONFIG.replace({"loss.name": "huber", "train.seed": 5})
        model, place = build(config, classes=len(splits.train.classes)), choose_placement("cpu", "fp32")
        images = DetectionDataset(splits.train, cache_mb=64)
        batches = draw_batches(images, config, place, start=0, steps=3)
        captured = capture_positives(model, batches, stages=("rpn", "roi"), seed=5, start=0, placement=place)
        at_start = propose_weights(
            CONFIG, losses=["l1", "iou", "smooth-iou"], batches=3, steps=0, seed=5, splits=splits, quiet=True
        )
        assert at_start["losses"]["iou"]["roi"]["start"] == found["losses"]["iou"]["roi"]["start"]
        for stage, taken in captured.items():
            sizes = {
                loss: torch.cat([pulls(loss_of(loss, weight=weights[stage]), p) for p in taken]).mean().item()
                for loss, weights in at_start["weights"].items()
            }
            assert list(sizes.values()) == pytest.approx([sizes["huber"]] * 4, rel=5e-3)  # three digits of a weight

    def test_the_last_moment_decides(self, found):
        assert [moment["name"] for moment in found["moments"]] == ["start", "after 2 steps"]
        assert found["decides"] == "after 2 steps"
        for loss, weights in found["weights"].items():
            for stage, weight in weights.items():
                entries = found["losses"][loss][stage]
                assert list(entries) == ["start", "after 2 steps"]
                assert weight == rounded(entries["after 2 steps"]["ratio"])
                assert all(entry["low"] <= entry["high"] and entry["batches"] == 3 for entry in entries.values())

    def test_equal_seeds_give_equal_numbers_to_the_last_bit(self, found, splits: Splits):
        again = propose_weights(CONFIG, losses=["iou"], batches=3, steps=2, seed=5, splits=splits, quiet=True)
        assert again["losses"]["iou"] == found["losses"]["iou"]
        assert again["moments"] == found["moments"]
        other = propose_weights(CONFIG, losses=["iou"], batches=3, steps=2, seed=6, splits=splits, quiet=True)
        assert other["losses"]["iou"] != found["losses"]["iou"]

    def test_another_reference_and_one_stage(self, splits: Splits):
        config = CONFIG.replace({"loss.stages": "roi"})
        turned = propose_weights(
            config, losses=["huber"], reference="l1", batches=1, steps=0, splits=splits, quiet=True
        )
        assert list(turned["weights"]) == ["l1", "huber"]
        assert turned["weights"]["l1"] == {"roi": 1.0}
        assert turned["weights"]["huber"]["roi"] > 1  # L1 pulls at every code with 1, Huber at most so

    def test_a_finished_run_can_be_measured_instead(self, splits: Splits, tmp_path: Path):
        config = CONFIG.replace({"loss.name": "l1", "train.steps": 2})
        run_cell(config, tmp_path / "RUN", splits=splits, quiet=True)
        measured = propose_weights(config, losses=["iou"], batches=2, run=tmp_path / "RUN", splits=splits, quiet=True)
        assert measured["moments"][0]["name"] == measured["decides"] == "RUN, step 2"
        assert len(measured["moments"]) == 1
        fewer = replace(splits, train=replace(splits.train, classes=splits.train.classes[:-1]))
        with pytest.raises(DataError, match="classes"):
            propose_weights(config, losses=["iou"], run=tmp_path / "RUN", splits=fewer, quiet=True)


class TestFaults:
    def refused(self, splits: Splits, error: type[Exception], words: str, **options: Any) -> None:
        options = {"losses": ["huber"], "batches": 1, "steps": 0, "splits": splits, "quiet": True, **options}
        with pytest.raises(error, match=words):
            propose_weights(CONFIG, **options)

    def test_images_without_boxes_have_no_gradient(self, splits: Splits):
        bare = replace(splits.train, records=[replace(record, boxes=()) for record in splits.train.records])
        words = "rpn, roi"
        self.refused(replace(splits, train=bare), DataError, words)

    def test_a_loss_that_does_not_pull_cannot_be_weighted(self, splits: Splits):
        self.refused(splits, ConfigError, "rpn stage", losses=[f"{HERE}:constant"])
        self.refused(splits, ConfigError, "inf|nan", losses=[f"{HERE}:steep"])

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"losses": ["hubr"]}, "hubr"),
            ({"reference": "hubr"}, "hubr"),
            ({"batches": 0}, "--batches"),
            ({"steps": 9}, "--steps"),
            ({"steps": -1}, "--steps"),
        ],
    )
    def test_options_out_of_range(self, splits: Splits, options: dict[str, Any], words: str):
        self.refused(splits, ConfigError, words, **options)


def test_the_training_before_is_the_beginning_of_the_recipes_own(splits: Splits, tmp_path: Path):
    """The rates are those of the whole training, not of a shorter one."""
    config = CONFIG.replace({"loss.name": "huber", "train.steps": 6})
    traces = []
    for name, until in (("part", 3), ("whole", None)):
        seed_weights(config.train.seed)
        model = build(config, classes=len(splits.train.classes))
        (tmp_path / name).mkdir()
        train_detector(model, config, tmp_path / name, splits, choose_placement("cpu", "fp32"), quiet=True, until=until)
        rows = list(csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines()))
        traces.append([{key: row[key] for key in ("step", "lr", "loss", "grad_norm")} for row in rows])
    assert len(traces[0]) == 3
    assert traces[0] == traces[1][:3]


def test_the_literature_speaks_of_losses_as_they_are_named_there():
    assert suggested_weight("giou") == {"weight": 10.0, "source": suggested_weight("giou")["source"]}
    assert suggested_weight("smooth-iou[iou_weight=10]") is None
    assert suggested_weight(f"{HERE}:twice_huber") is None


def test_default_steps_are_a_share_of_the_training():
    assert [default_steps(CONFIG.replace({"train.steps": steps})) for steps in (3, 8, 150, 90_000)] == [0, 2, 37, 1000]
