"""TensorFlow's RMSProp: by hand, against TensorFlow, and through a save."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from smoothiou.engine.optim import set_learning_rate
from smoothiou.engine.tf_rmsprop import TensorFlowRMSprop
from smoothiou.errors import ConfigError


def test_two_steps_by_hand():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = TensorFlowRMSprop([weight], 0.5, decay=0.75, momentum=0.5, eps=3.0)
    weight.grad = torch.tensor([2.0])
    optimizer.step()  # s = .75 + .25 * 4 = 1.75, v = .5 * 2 / sqrt(4.75)
    first = 1 / 4.75**0.5
    assert weight.item() == pytest.approx(1 - first)
    weight.grad = torch.tensor([-2.0])
    set_learning_rate(optimizer, 0.05)
    optimizer.step()  # s = .75 * 1.75 + 1 = 2.3125, v = .5 v - .05 * 2 / sqrt(5.3125): the old rate stays in v
    assert weight.item() == pytest.approx(1 - first - (0.5 * first - 0.1 / 5.3125**0.5))


def test_decay_is_added_to_the_gradient():
    plain, decayed = (nn.Parameter(torch.tensor([3.0, -1.0])) for _ in range(2))
    plain.grad, decayed.grad = torch.tensor([1.3, 0.1]), torch.tensor([1.0, 0.2])
    TensorFlowRMSprop([plain], 0.1).step()
    TensorFlowRMSprop([{"params": [decayed], "weight_decay": 0.1}], 0.1).step()
    torch.testing.assert_close(plain, decayed)


def test_what_has_no_gradient_stays_and_the_closure_is_heard():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer = TensorFlowRMSprop(model.parameters(), 0.1)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert torch.equal(model.bias, before["bias"])
    assert not torch.equal(model.weight, before["weight"])
    assert optimizer.step() is None


def test_a_saved_state_continues_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(5, generator=generator), torch.randn(6, 5, generator=generator)

    def run(weight, optimizer, steps):
        for step in steps:
            weight.grad = gradients[step].clone()
            optimizer.step()

    whole = nn.Parameter(start.clone())
    run(whole, TensorFlowRMSprop([whole], 0.1), range(6))
    half = nn.Parameter(start.clone())
    optimizer = TensorFlowRMSprop([half], 0.1)
    run(half, optimizer, range(3))
    rest = nn.Parameter(half.detach().clone())
    other = TensorFlowRMSprop([rest], 0.7)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(rest, other, range(3, 6))
    assert torch.equal(rest, whole)


@pytest.mark.parametrize(
    ("option", "value"), [("lr", -1.0), ("decay", 1.0), ("momentum", -0.1), ("eps", 0.0), ("weight_decay", -1.0)]
)
def test_numbers_outside_their_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"{option}: .*{value}"):
        TensorFlowRMSprop([nn.Parameter(torch.zeros(1))], **{"lr": 0.1, option: value})


@pytest.mark.parametrize("eps", ["1", "0.01", "1e-10"])
def test_every_step_is_tensorflows(eps):
    file = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "inception_v2_tf" / "ops_reference.npz"
    if not file.is_file():
        pytest.skip("TensorFlow's reference values (../shared/fixtures/inception_v2_tf) are not beside this checkout")
    values = {key: torch.from_numpy(value) for key, value in np.load(file).items()}
    ours, torchs = (nn.Parameter(values["rmsprop_w0"].clone()) for _ in range(2))
    optimizers = (
        TensorFlowRMSprop([ours], 0.0, decay=0.9, momentum=0.9, eps=float(eps)),
        torch.optim.RMSprop([torchs], 0.0, alpha=0.9, momentum=0.9, eps=float(eps)),
    )
    for rate, gradient, expected in zip(
        values["rmsprop_lr"], values["rmsprop_grads"], values[f"rmsprop_traj_eps{eps}"], strict=True
    ):
        for weight, optimizer in zip((ours, torchs), optimizers, strict=True):
            weight.grad = gradient.clone()
            set_learning_rate(optimizer, float(rate))
            optimizer.step()
        torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=1e-6)
    travelled = (expected - values["rmsprop_w0"]).abs().max()
    assert (torchs - expected).abs().max() > 0.1 * travelled, "torch's rule is another"
