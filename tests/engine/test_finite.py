"""A number that is not finite stops a training before it is saved, on a GPU without waiting for each step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.finite import DELAY, FiniteCheck
from smoothiou.engine.loop import train
from smoothiou.errors import DivergedError

CPU = torch.device("cpu")


def add(check, step, value):
    loss = torch.tensor(value)
    check.add({"loss_box": loss, "loss_class": torch.ones(())}, loss + 1, step=step, images=[f"image {step}"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_without_delay_the_step_itself_is_stopped(value):
    check = FiniteCheck(CPU)
    add(check, 0, 1.0)
    with pytest.raises(DivergedError, match=r"step 2: loss_box .*(nan|-?inf).*image 1\."):
        add(check, 1, value)


def test_with_a_delay_the_right_step_is_named(monkeypatch):
    monkeypatch.setitem(DELAY, "cpu", 1)
    check = FiniteCheck(CPU)
    add(check, 0, 1.0)
    add(check, 1, float("nan"))
    with pytest.raises(DivergedError, match=r"step 2: loss_box .*nan.*image 1\."):
        add(check, 2, 1.0)


def test_settling_checks_the_steps_that_are_left(monkeypatch):
    monkeypatch.setitem(DELAY, "cpu", 3)
    check = FiniteCheck(CPU)
    for step in range(3):
        add(check, step, 1.0)
    check.settle()
    add(check, 3, float("nan"))
    with pytest.raises(DivergedError, match="step 4"):
        check.settle()


def test_a_gradient_that_is_not_finite_is_told_from_a_loss():
    check = FiniteCheck(CPU)
    with pytest.raises(DivergedError, match="gradient"):
        check.add({"loss": torch.ones(())}, torch.tensor(float("nan")), step=0, images=["a"])


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
    save_seconds = 1e9 if saves is None else 1e-9
    config = RunConfig().replace({"train.steps": 1000, "train.log_every": 100, "train.save_seconds": save_seconds})
    train(
        model, optimizer, batches, config, Placement(device, "fp32", ""), start=0, epoch_images=10**6,
        log=lambda row: None, save=lambda step: saves.append(float(model.weight.detach())),
    )  # fmt: skip


@pytest.mark.parametrize("late", [0, 1, 5])
@pytest.mark.parametrize("every_step", [False, True])
def test_a_training_stops_however_late_and_no_save_holds_what_is_not_finite(monkeypatch, late, every_step):
    monkeypatch.setitem(DELAY, "cpu", late)
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
