"""Rates, decay and clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothiou.config import OptimConfig
from smoothiou.train.optim import build_optimizer, clip_gradients, learning_rate


def test_one_cycle_rises_to_the_peak_and_falls_towards_zero():
    config = OptimConfig(lr=1.0, schedule="one-cycle", warmup=0.1)
    rates = [learning_rate(config, step=step, steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_papers_schedule_divides_by_ten_every_50_000_steps():
    config = OptimConfig(lr=2e-4, schedule="step", step_every=50_000)
    rates = [learning_rate(config, step=step, steps=200_000) for step in (0, 49_999, 50_000, 100_000, 199_999)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-6, 2e-7])


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_biases_and_norms_are_not_decayed(name):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))
    optimizer = build_optimizer(model, OptimConfig(name=name, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(model[0].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_clipping_scales_to_the_largest_norm_and_returns_the_norm_before():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_gradients(layer, largest=1.0) == pytest.approx(5.0)
    assert layer.weight.grad.norm() == pytest.approx(1.0, abs=1e-5)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_gradients(layer, largest=0.0) == pytest.approx(5.0)
    assert layer.weight.grad.tolist() == [[3.0, 4.0]]
