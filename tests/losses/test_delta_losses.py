"""Huber, smooth L1, L1 and L2 against the formulas, torch, and each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smoothiou.errors import ConfigError
from smoothiou.losses.balanced_l1 import BalancedL1
from smoothiou.losses.huber import Huber
from smoothiou.losses.iou import IoU
from smoothiou.losses.l1 import L1
from smoothiou.losses.l2 import L2
from smoothiou.losses.smooth_l1 import SmoothL1


def pair(count: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(count, 4, generator=generator, dtype=torch.float64) * 3 for _ in range(2))  # type: ignore[return-value]


def delta(z: float) -> tuple[Tensor, Tensor]:
    """A box that is off by z in its second delta only."""
    return torch.tensor([[1.0, z, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 2.0, 3.0]])


BY_HAND = [
    ("Huber inside: 0.5 * 0.5^2", Huber(), 0.5, 0.125),
    ("Huber at the threshold, where both branches say 1/2", Huber(), 1.0, 0.5),
    ("Huber outside: 1 * 3 - 0.5", Huber(), 3.0, 2.5),
    ("Huber is even", Huber(), -3.0, 2.5),
    ("Huber with delta 2 inside: 0.5 * 1.5^2", Huber(delta=2), 1.5, 1.125),
    ("Huber with delta 2 outside: 2 * 3 - 0.5 * 4", Huber(delta=2), 3.0, 4.0),
    ("smooth L1 inside: 0.5 * 0.1^2 * 9", SmoothL1(), 0.1, 0.045),
    ("smooth L1 outside: 3 - 1/18", SmoothL1(), 3.0, 3 - 1 / 18),
    ("smooth L1 with beta 2 outside: 3 - 1", SmoothL1(beta=2), 3.0, 2.0),
    ("L1", L1(), -3.0, 3.0),
    ("L2 has the factor 1/2", L2(), 3.0, 4.5),
    ("L2 goes on as a line after 6e4: 6e4 * (1e30 - 3e4)", L2(), 1e30, 6e34),
    ("Huber stays linear up to there", Huber(), 1e30, 1e30),
]


@pytest.mark.parametrize(("why", "loss", "z", "expected"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_one_delta_by_hand(why, loss, z, expected):
    torch.testing.assert_close(loss(*delta(z)), torch.tensor([expected]))


def test_deltas_are_summed():
    # 0.5 * 0.5^2 + (2 - 0.5) + 0 + (3 - 0.5)
    value = Huber()(torch.tensor([[0.5, -2.0, 0.0, 3.0]]), torch.zeros(1, 4))
    assert value.item() == 0.125 + 1.5 + 2.5


@pytest.mark.parametrize("delta", [0.1, 1.0, 2.5])
def test_huber_is_equation_2(delta):
    pred, target = pair()
    z = (pred - target).abs()
    equation_2 = torch.where(z < delta, 0.5 * z**2, delta * z - 0.5 * delta**2)
    torch.testing.assert_close(Huber(delta)(pred, target), equation_2.sum(1))


@pytest.mark.parametrize("beta", [1 / 9, 1.0, 3.0])
def test_smooth_l1_is_huber_divided_by_its_threshold(beta):
    pred, target = pair()
    torch.testing.assert_close(SmoothL1(beta)(pred, target), Huber(beta)(pred, target) / beta)


def test_smooth_l1_is_what_torchvision_trains_with():
    pred, target = pair()
    theirs = F.smooth_l1_loss(pred, target, beta=1 / 9, reduction="sum")
    torch.testing.assert_close(SmoothL1()(pred, target).sum(), theirs)


def test_limits_of_the_docstrings():
    pred, target = pair()
    torch.testing.assert_close(SmoothL1(1e-9)(pred, target), L1()(pred, target))
    torch.testing.assert_close(Huber(1e9)(pred, target), L2()(pred, target))
    assert Huber(1e-9)(pred, target).max() < 1e-7
    assert SmoothL1(1e9)(pred, target).max() < 1e-6


def test_l2_is_half_of_torchs_squared_error():
    pred, target = pair()
    torch.testing.assert_close(L2()(pred, target), 0.5 * F.mse_loss(pred, target, reduction="none").sum(1))


def test_iou_takes_the_weights_of_the_deltas():
    # One anchor width to the right for weight 10 is a tenth of it for a delta of 1 with weight 1.
    pred, target = torch.tensor([[5.0, 0, 0, 0]]), torch.zeros(1, 4)
    # Half a width apart: 0.5 / 1.5.
    torch.testing.assert_close(IoU()(pred, target), torch.tensor([2 / 3]))
    # Five widths apart.
    assert IoU()(pred, target, weights=(1.0, 1.0, 1.0, 1.0)).item() == 1.0


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "1", True, None])
def test_a_threshold_is_a_number_above_zero(wrong):
    with pytest.raises(ConfigError, match="delta"):
        Huber(delta=wrong)
    with pytest.raises(ConfigError, match="beta"):
        SmoothL1(beta=wrong)


def test_options_are_printed():
    assert repr(Huber(0.5)) == "Huber(delta=0.5)"
    assert repr(SmoothL1()) == "SmoothL1(beta=0.111111)"


def test_balanced_l1_stays_a_number_near_0_and_refuses_options_that_overflow():
    z = torch.logspace(-45, 0, 400)[:, None].repeat(1, 4)
    value = BalancedL1()(z, torch.zeros_like(z))
    assert (value >= 0).all()
    assert value[z[:, 0] > 1e-6].diff().gt(0).all()
    for options in ({"alpha": 0.01}, {"alpha": 0.001}, {"gamma": 1000.0}):
        with pytest.raises(ConfigError, match="gamma / alpha"):
            BalancedL1(**options)(z, z)
