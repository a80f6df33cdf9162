"""A number that is not finite stops a training before it is saved, on a GPU without waiting for each step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from smoothiou.engine.config import OptimConfig
from smoothiou.engine.finite import LATE, FiniteWatch
from smoothiou.engine.loop import Loop, train
from smoothiou.errors import DivergedError

CPU = torch.device("cpu")


def note(watch, step, value):
    loss = torch.tensor(value)
    watch.note({"loss_box": loss, "loss_class": torch.ones(())}, loss + 1, step=step, images=[f"image {step}"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_at_once_where_nothing_is_late(value):
    watch = FiniteWatch(CPU)
    note(watch, 0, 1.0)
    with pytest.raises(DivergedError, match=r"step 2: loss_box is (nan|-?inf); images: image 1\."):
        note(watch, 1, value)


def test_late_by_one_step_and_named_rightly(monkeypatch):
    monkeypatch.setitem(LATE, "cpu", 1)
    watch = FiniteWatch(CPU)
    note(watch, 0, 1.0)
    note(watch, 1, float("nan"))
    with pytest.raises(DivergedError, match=r"step 2: loss_box is nan; images: image 1\."):
        note(watch, 2, 1.0)


def test_settling_looks_at_what_is_left(monkeypatch):
    monkeypatch.setitem(LATE, "cpu", 3)
    watch = FiniteWatch(CPU)
    for step in range(3):
        note(watch, step, 1.0)
    watch.settle()
    note(watch, 3, float("nan"))
    with pytest.raises(DivergedError, match="step 4"):
        watch.settle()


def test_a_gradient_that_is_not_finite_is_told_from_a_loss():
    watch = FiniteWatch(CPU)
    with pytest.raises(DivergedError, match="the gradient is not finite"):
        watch.note({"loss": torch.ones(())}, torch.tensor(float("nan")), step=0, images=["a"])


class Toy(nn.Module):
    """A model of one weight whose loss is NaN where an image is white."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images, targets):
        means = torch.stack([image.mean() for image in images])
        return {"loss": (self.weight * torch.where(means == 1, torch.nan, means)).sum()}


def run(values, *, device, saves=None):
    """Train on images of one grey each, which end long before the steps do; with `saves`, save after each step."""
    model = Toy().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    made = [torch.full((3, 4, 4), value, dtype=torch.uint8) for value in values]
    batches = [([image.pin_memory() if device.type == "cuda" else image], [{}]) for image in made]
    loop = Loop(
        steps=1000, start=0, optim=OptimConfig(), seed=0, images=10**6, batch_size=1, device=device, precision="fp32",
        log_every=100, eval_every=0, save_seconds=1e9 if saves is None else 1e-9,
    )  # fmt: skip
    train(
        model, optimizer, batches, loop, sinks=[], statistics=dict, evaluate=lambda step: {},
        save=lambda step: saves.append(float(model.weight.detach())), name=str,
    )  # fmt: skip


@pytest.mark.parametrize("late", [0, 1, 5])
@pytest.mark.parametrize("every_step", [False, True])
def test_a_training_stops_however_late_and_no_save_holds_what_is_not_finite(monkeypatch, late, every_step):
    monkeypatch.setitem(LATE, "cpu", late)
    saves = [] if every_step else None
    with pytest.raises(DivergedError, match="step 3"):
        run([10, 20, 255, 30, 40], device=CPU, saves=saves)
    if every_step:
        assert len(saves) == 2
        assert all(math.isfinite(value) for value in saves)


@pytest.mark.gpu
def test_a_step_does_not_wait_for_the_gpu():
    device = torch.device("cuda")
    run([10, 20], device=device)  # loads what is loaded once
    torch.cuda.set_sync_debug_mode("error")
    try:
        run([10, 20, 30, 40, 50], device=device)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_on_a_gpu_the_step_is_named_too():
    with pytest.raises(DivergedError, match="step 3"):
        run([10, 20, 255, 30, 40], device=torch.device("cuda"))
