"""Looking at the val split changes nothing of a training but its end, where patience was set."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace

import pytest
import torch

from smoothiou.data import load_dataset
from smoothiou.detectors import box_loss_state, build_detector
from smoothiou.engine import training_state as training
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.measure import measure
from smoothiou.engine.open_data import Splits, open_splits
from smoothiou.engine.train import run
from smoothiou.engine.validation import _batches, validation_losses
from smoothiou.errors import ConfigError, InterruptedRun

from .stopping import signal_in_step

TINY = {
    "data.path": "shapes", "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
    "train.steps": 6, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
}  # fmt: skip
CPU = Placement(torch.device("cpu"), "fp32", "")
FOUR = ("objectness", "rpn_box_reg", "classifier", "box_reg")


def watched(config: RunConfig) -> Splits:
    """The synthetic splits, with the test split as one to watch."""
    splits = open_splits(config.data)
    return Splits(splits.train, splits.test, splits.test)


def trained(folder, **more):
    config = RunConfig().replace({**TINY, **more})
    result = run(config, folder, splits=watched(config), quiet=True)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    return result, rows, torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    "more",
    [
        {"loss.name": "smooth-iou[lam=ema]", "model.roi_dropout": 0.5},
        pytest.param(
            {"loss.name": "huber", "train.workers": 1, "train.cache_mb": 0, "model.tf_compat": True},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ema and dropout", "workers and tf"],
)
def test_with_and_without_validation_a_run_ends_with_the_same_weights(tmp_path, more):
    _, rows, without = trained(tmp_path / "without", **more)
    _, others, content = trained(tmp_path / "with", **more, **{"train.eval_every": 2})
    for key, value in without["model"].items():
        assert torch.equal(value, content["model"][key]), key
    for stage, state in without["box_loss"].items():
        assert all(torch.equal(value, content["box_loss"][stage][key]) for key, value in state.items())
    own = [key for key in rows[0] if not key.startswith("val_") and key != "seconds"]
    assert [[row[key] for key in own] for row in rows] == [[row[key] for key in own] for row in others]
    columns = [*(f"val_loss_{name}" for name in FOUR), "val_loss"]
    for row in others:
        values = [float(row[column]) for column in columns if row[column]]
        assert len(values) == (5 if int(row["step"]) % 2 == 0 else 0)
        assert sum(values[:4]) == pytest.approx(sum(values[4:]), rel=1e-4)


def test_losses_of_a_split_are_those_of_its_batches_and_the_same_at_each_call():
    config = RunConfig().replace({**TINY, "loss.name": "huber"})
    data = load_dataset("shapes", split="train", images=5, size=64)
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=len(data.classes), loss="smooth-iou[lam=ema]").train()
    before = copy.deepcopy(model.state_dict())
    first = validation_losses(model, data, config, CPU)
    torch.manual_seed(5)
    assert validation_losses(model, data, config, CPU) == first
    assert set(first) == {*(f"val_loss_{name}" for name in FOUR), "val_loss"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all((state["rule.average"] == 0).all() for state in box_loss_state(model).values())
    assert all(module.training for module in model.modules())
    # A batch of one is an image by itself, so that the mean over images is that of the single ones.
    one = config.replace({"train.batch_size": 1})
    assert len(_batches(5, 1, CPU)) == 5
    assert validation_losses(model, data, one, CPU)["val_loss"] == pytest.approx(first["val_loss"], rel=0.3)


@pytest.mark.parametrize(("images", "batch_size", "processes"), [(5, 2, 2), (7, 6, 3), (1, 4, 4), (8, 4, 2)])
def test_processes_have_as_many_batches_and_miss_no_image(images, batch_size, processes):
    places = [Placement(torch.device("cpu"), "fp32", "", rank, processes) for rank in range(processes)]
    shares = [_batches(images, batch_size, place) for place in places]
    assert len({tuple(map(len, share)) for share in shares}) == 1
    assert {index for share in shares for batch in share for index in batch} == set(range(images))


def play(monkeypatch, values):
    """Let the AP on the val split be what is given, evaluation by evaluation, and that on test what it is."""
    left = iter(values)

    def played(model, data, *args, label, **options):
        measured = measure(model, data, *args, label=label, **options)
        if label == "val":
            measured.metrics["AP"] = next(left)
        return measured

    monkeypatch.setattr(training, "measure", played)


@pytest.mark.parametrize(
    ("patience", "values", "end"),
    [
        (1, (0.2, 0.1, 0.3), 2),
        (2, (0.2, 0.3, 0.1, 0.3), 4),
        pytest.param(2, (0.1, 0.2, 0.3, 0.4), 4, marks=pytest.mark.slow),
    ],
)
def test_a_training_ends_after_so_many_evaluations_without_a_better_ap(tmp_path, monkeypatch, patience, values, end):
    play(monkeypatch, values)
    more = {"train.steps": 4, "train.eval_every": 1, "train.patience": patience}
    result, rows, content = trained(tmp_path, **more)
    assert content["step"] == result["cost"]["steps"] == len(rows) == end
    assert (tmp_path / "done").is_file()
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["step"] == values.index(max(values[:end])) + 1


@pytest.mark.slow
def test_stopped_and_continued_it_ends_at_the_same_step(tmp_path, monkeypatch):
    more = {"train.steps": 5, "train.eval_every": 1, "train.patience": 2}
    play(monkeypatch, [0.2, 0.3, 0.1])
    with monkeypatch.context() as patch:
        signal_in_step(patch, 3)
        with pytest.raises(InterruptedRun, match="after step 3"):
            trained(tmp_path, **more)
    play(monkeypatch, [0.2])
    assert trained(tmp_path, **more)[0]["cost"]["steps"] == 4
    (tmp_path / "done").unlink()  # killed while it was measured: it is over, and not trained on
    assert trained(tmp_path, **more)[0]["cost"]["steps"] == 4
    assert json.loads((tmp_path / "result.json").read_text())["cost"]["steps"] == 4


def test_patience_needs_evaluations_and_a_split_to_watch(tmp_path):
    with pytest.raises(ConfigError, match="train.patience: .*eval_every"):
        RunConfig().replace({"train.patience": 2})
    config = RunConfig().replace({**TINY, "train.patience": 2, "train.eval_every": 1})
    with pytest.raises(ConfigError, match="no val split") as error:
        run(config, tmp_path / "RUN", splits=replace(watched(config), val=None), quiet=True)
    assert "data.val" in error.value.hint
    assert not (tmp_path / "RUN").exists()
