"""The loop on a model of one weight, where every number can be worked out."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from torch import nn

from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.loop import train
from smoothiou.engine.metrics_csv import MetricsCsv, read_metrics
from smoothiou.engine.optim import build_optimizer
from smoothiou.errors import DivergedError, InterruptedRun


class OneWeight(nn.Module):
    """Loss (w * mean pixel - 1)^2, so the gradient at w = 0 and a white image is -2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images, targets):
        return {"loss_classifier": ((self.weight * torch.stack(images).mean() - 1) ** 2).sum()}


WHITE = ([torch.full((3, 2, 2), 255, dtype=torch.uint8)], [{"labels": torch.tensor([1]), "name": "a.jpg"}])
CPU = Placement(torch.device("cpu"), "fp32", "")


def run(model, *, steps=4, log=lambda row: None, save=lambda step: None, **options):
    config = RunConfig().replace({
        "optim.name": "sgd", "optim.lr": 0.1, "optim.schedule": "constant", "optim.momentum": 0.0,
        "optim.weight_decay": 0.0, "optim.clip_norm": 0.0, "train.steps": steps, "train.batch_size": 1,
        "train.log_every": 1, "train.eval_every": 2, "train.save_seconds": 1e9,
    })  # fmt: skip
    train(
        model, build_optimizer(model, config.optim), [WHITE] * steps, config, CPU, start=0, epoch_images=2,
        log=log, save=save, image_name=lambda target: target["name"], **options,
    )  # fmt: skip


def test_two_steps_of_gradient_descent_by_hand():
    model, rows = OneWeight(), []
    run(model, steps=2, log=rows.append)
    # w0 = 0, gradient -2 -> w1 = 0.2, gradient -1.6 -> w2 = 0.36; the losses seen are 1 and 0.64.
    assert model.weight.item() == pytest.approx(0.36)
    assert [row["loss"] for row in rows] == pytest.approx([1.0, 0.64])
    assert [row["grad_norm"] for row in rows] == pytest.approx([2.0, 1.6])
    assert [row["epoch"] for row in rows] == [0.5, 1.0]


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched_and_names_image_and_term():
    model = OneWeight()
    with torch.no_grad():
        model.weight.fill_(float("inf"))
    saved = []
    with pytest.raises(DivergedError, match=r"step 1: loss_classifier.*inf.*a.jpg"):
        run(model, save=saved.append)
    assert saved == []


def test_a_signal_saves_the_step_that_is_done_and_then_stops():
    model, saved = OneWeight(), []

    def log(row):
        if row["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRun, match="step 2"):
        run(model, log=log, save=saved.append)
    assert saved == [2]
    assert signal.getsignal(signal.SIGTERM) is before


def test_evaluation_comes_every_so_many_steps_and_its_columns_join_the_row():
    rows, saved = [], []
    run(OneWeight(), steps=5, evaluate=lambda step: {"val_AP": step / 10}, log=rows.append, save=saved.append)
    assert {row["step"]: row.get("val_AP") for row in rows} == {1: None, 2: 0.2, 3: None, 4: 0.4, 5: 0.5}
    assert saved == [2, 4, 5]


def test_a_resumed_csv_drops_the_rows_past_the_checkpoint_and_a_row_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = MetricsCsv(path, resume_step=0)
    for step in (1, 2, 3):
        metrics.write({"step": step, "loss": 1 / step, "unknown": 1})
    path.write_text(path.read_text() + "4,0.5")
    again = MetricsCsv(path, resume_step=2)
    again.write({"step": 3, "loss": 0.25})
    rows = read_metrics(path)
    assert [(row["step"], row["loss"]) for row in rows] == [("1", "1"), ("2", "0.5"), ("3", "0.25")]
