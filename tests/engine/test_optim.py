"""Rates, decay and clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothiou.engine.optim import build_optimizer, clip_gradients, learning_rate
from smoothiou.engine.sections import OptimConfig
from smoothiou.engine.tf_rmsprop import TensorFlowRMSprop


def test_warmup_cosine_rises_to_the_peak_and_falls_towards_zero():
    config = OptimConfig(lr=1.0, schedule="warmup-cosine", warmup=0.1)
    rates = [learning_rate(config, step=step, steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_papers_schedule_divides_by_ten_every_50_000_steps():
    config = OptimConfig(lr=2e-4, schedule="step", step_every=50_000)
    rates = [learning_rate(config, step=step, steps=200_000) for step in (0, 49_999, 50_000, 100_000, 199_999)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-6, 2e-7])


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "tf-rmsprop"])
def test_biases_and_norms_are_not_decayed(name):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))
    optimizer = build_optimizer(model, OptimConfig(name=name, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(model[0].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_clipping_scales_to_the_largest_norm_and_returns_the_norm_before():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_gradients(layer.parameters(), largest=1.0) == pytest.approx(5.0)
    assert layer.weight.grad.norm() == pytest.approx(1.0, abs=1e-5)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_gradients(layer.parameters(), largest=0.0) == pytest.approx(5.0)
    assert layer.weight.grad.tolist() == [[3.0, 4.0]]


def test_clipping_each_variable_leaves_those_alone_that_are_short_enough():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[0].weight.grad, model[1].weight.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.5]])
    assert clip_gradients(model.parameters(), largest=1.0, each=True) == pytest.approx(25.25**0.5)
    assert model[0].weight.grad[0].tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
    assert model[1].weight.grad.tolist() == [[0.5]]


def test_tf_rmsprop_by_name_takes_rate_momentum_and_epsilon_from_the_settings():
    layer = nn.Linear(2, 1)
    optimizer = build_optimizer(
        layer, OptimConfig(name="tf-rmsprop", lr=0.25, momentum=0.5, epsilon=3.0, weight_decay=0)
    )
    assert isinstance(optimizer, TensorFlowRMSprop)
    for group in optimizer.param_groups:
        assert (group["lr"], group["decay"], group["momentum"], group["eps"]) == (0.25, 0.9, 0.5, 3.0)
    before = layer.bias.item()
    layer.bias.grad = torch.tensor([2.0])
    optimizer.step()
    # The mean square is 0.9 * 1 + 0.1 * 4 = 1.3 after one step.
    assert layer.bias.item() == pytest.approx(before - 0.25 * 2 / (1.3 + 3.0) ** 0.5)
