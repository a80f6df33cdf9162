"""The loop on a model of one weight, where every number can be worked out."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from torch import nn

from smoothiou.engine.config import OptimConfig
from smoothiou.engine.loop import Loop, train
from smoothiou.engine.optim import build_optimizer
from smoothiou.engine.sinks import MetricsCsv, read_metrics
from smoothiou.errors import DivergedError, InterruptedRun


class OneWeight(nn.Module):
    """Loss (w * mean pixel - 1)^2, so the gradient at w = 0 and a white image is -2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images, targets):
        return {"loss_classifier": ((self.weight * torch.stack(images).mean() - 1) ** 2).sum()}


class Rows(list):
    def write(self, row):
        self.append(dict(row))


WHITE = ([torch.full((3, 2, 2), 255, dtype=torch.uint8)], [{"labels": torch.tensor([1]), "name": "a.jpg"}])
CPU = torch.device("cpu")


def run(
    model, *, steps=4, start=0, batches=None, evaluate=lambda step: {}, save=lambda step: None, sinks=(), **changes
):
    optim = OptimConfig(name="sgd", lr=0.1, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.0)
    loop = Loop(**{
        "steps": steps, "start": start, "optim": optim, "seed": 0, "images": 2, "batch_size": 1,
        "device": CPU, "precision": "fp32", "log_every": 1, "eval_every": 0, "save_seconds": 1e9, **changes,
    })  # fmt: skip
    train(
        model, build_optimizer(model, loop.optim), batches or [WHITE] * (steps - start), loop, sinks=sinks,
        statistics=dict, evaluate=evaluate, save=save, name=lambda target: target["name"],
    )  # fmt: skip


def test_two_steps_of_gradient_descent_by_hand():
    model, rows = OneWeight(), Rows()
    run(model, steps=2, sinks=[rows])
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
    with pytest.raises(DivergedError, match=r"step 1: loss_classifier is inf; images: a.jpg"):
        run(model, save=saved.append)
    assert saved == []


def test_a_signal_saves_the_step_that_is_done_and_then_stops():
    model, saved = OneWeight(), []

    class Signalling(Rows):
        def write(self, row):
            super().write(row)
            if row["step"] == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRun, match="after step 2 of 4"):
        run(model, sinks=[Signalling()], save=saved.append)
    assert saved == [2]
    assert signal.getsignal(signal.SIGTERM) is before


def test_evaluation_comes_every_so_many_steps_and_its_columns_join_the_row():
    rows, saved = Rows(), []
    run(
        OneWeight(), steps=5, eval_every=2, evaluate=lambda step: {"val_AP": step / 10}, sinks=[rows], save=saved.append
    )
    assert {row["step"]: row.get("val_AP") for row in rows} == {1: None, 2: 0.2, 3: None, 4: 0.4, 5: 0.5}
    assert saved == [2, 4, 5]


def test_a_resumed_csv_drops_the_rows_past_the_checkpoint_and_a_row_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.csv"
    sink = MetricsCsv(path, resume_step=0)
    for step in (1, 2, 3):
        sink.write({"step": step, "loss": 1 / step, "unknown": 1})
    path.write_text(path.read_text() + "4,0.5")
    again = MetricsCsv(path, resume_step=2)
    again.write({"step": 3, "loss": 0.25})
    rows = read_metrics(path)
    assert [(row["step"], row["loss"]) for row in rows] == [("1", "1"), ("2", "0.5"), ("3", "0.25")]
