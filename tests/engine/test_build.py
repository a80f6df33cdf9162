"""Which runs compile their box losses."""

from __future__ import annotations

import pytest
import torch

from smoothiou.engine import detector as building
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement


@pytest.mark.parametrize(
    ("choice", "device", "compiles"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("yes", "cpu", True), ("no", "cuda", False)],
)
def test_auto_compiles_losses_on_cuda_only(choice, device, compiles):
    config = RunConfig().replace({"train.compile_loss": choice})
    assert building.compiles_loss(config, Placement(torch.device(device), "fp32", "")) == compiles


@pytest.mark.parametrize("compile_loss", [False, True])
def test_every_stage_is_told_to_compile(monkeypatch, compile_loss):
    calls = {}
    monkeypatch.setattr(
        building, "set_box_loss", lambda model, loss, *, stages, weight, compile: calls.update({stages: compile})
    )
    building.build(RunConfig(), classes=2, compile_loss=compile_loss)
    assert calls == {("rpn",): compile_loss, ("roi",): compile_loss}
