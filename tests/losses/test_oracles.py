"""Every loss of overlap against the formula of its paper, written down once more and left to autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou import losses
from smoothiou.losses import LOSSES
from tests.losses.cases import function
from tests.losses.formulas import FORMULAS, Pair, bounded_iou, ciou, extended_iou

OPTIONS = [
    ("alpha-iou", {"alpha": 2.5}, lambda b: 1 - b.iou**2.5),
    ("alpha-iou", {"alpha": 1}, lambda b: 1 - b.iou),
    ("alpha-iou", {"alpha": 2}, lambda b: 1 - b.iou**2),
    ("bounded-iou", {"beta": 0.6}, lambda b: bounded_iou(b, beta=0.6)),
    ("ciou", {"alpha": "tcyb"}, lambda b: ciou(b, gated=True)),
    ("extended-iou", {"smooth_point": 0.7}, lambda b: extended_iou(b, smooth_point=0.7)),
]
CASES = [(name, {}, formula) for name, formula in FORMULAS.items()] + OPTIONS


def random(count: int, columns: int, *, seed: int, low: float, high: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, columns, generator=generator, dtype=torch.float64)


def overlapping() -> tuple[Tensor, Tensor]:
    corner, side = random(300, 2, seed=0, low=0, high=20), random(300, 2, seed=1, low=25, high=90)
    target = torch.cat((corner, corner + side), 1)
    return target + random(300, 4, seed=2, low=-15, high=15), target


def nested() -> tuple[Tensor, Tensor]:
    """One inside the other, by turns."""
    outer, _ = overlapping()
    shares = random(300, 4, seed=3, low=0.05, high=0.4)
    sides = (outer[:, 2:] - outer[:, :2]).repeat(1, 2)
    inner = outer + shares * sides * torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    return torch.cat((inner[:150], outer[150:])), torch.cat((outer[:150], inner[150:]))


def disjoint() -> tuple[Tensor, Tensor]:
    """Apart along x, along y, and along both, to all sides."""
    pred, target = overlapping()
    away = random(300, 2, seed=4, low=130, high=400)
    away *= torch.where(random(300, 2, seed=5, low=-1, high=1) > 0, 1.0, -1.0)
    away[:100, 0] = 0
    away[100:200, 1] = 0
    return pred + away.repeat(1, 2), target


def nearly_equal() -> tuple[Tensor, Tensor]:
    _, target = overlapping()
    return target + random(300, 4, seed=6, low=-1.0, high=1.0), target


KINDS = [overlapping, nested, disjoint, nearly_equal]


def test_the_kinds_of_pairs_are_what_they_are_called():
    for kind, low, high in ((overlapping, 0.05, 0.99), (nested, 0.01, 0.85), (disjoint, 0, 0), (nearly_equal, 0.8, 1)):
        b = Pair(*kind())
        assert low <= b.iou.min()
        assert b.iou.max() <= high
        assert (b.width > 0).all()
        assert (b.height > 0).all()
    b = Pair(*nested())
    assert torch.allclose(b.enclosing_width * b.enclosing_height, b.union)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options", "formula"), CASES, ids=[f"{row[0]}-{row[1]}" for row in CASES])
def test_value_gradient_and_curvature_are_those_of_the_formula(name, options, formula, kind):
    pred, target = kind()
    direction = random(300, 4, seed=7, low=-1, high=1)
    results = []
    for loss in (lambda p, t: function(name)(p, t, **options), lambda p, t: formula(Pair(p, t))):
        p = pred.clone().requires_grad_()
        value = loss(p, target)
        gradient = torch.autograd.grad(value.sum(), p, create_graph=True)[0]
        curvature = torch.zeros_like(gradient)
        if gradient.requires_grad:
            curvature = torch.autograd.grad(gradient, p, direction, allow_unused=True)[0]
        results.append((value, gradient, torch.zeros_like(p) if curvature is None else curvature))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    # Something was compared: losses that vanish for disjoint boxes are flat there, all others are not.
    assert (results[0][1] != 0).any() == (kind is not disjoint or name == "bounded-iou" or not vanishes(name))


def vanishes(name: str) -> bool:
    return LOSSES[name].info.vanishes_when_disjoint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in FORMULAS if LOSSES[name].info.symmetric])
def test_so_is_the_gradient_to_the_target(name, kind):
    pred, target = kind()
    results = []
    for loss in (function(name), lambda p, t: FORMULAS[name](Pair(p, t))):
        t = target.clone().requires_grad_()
        results.append(torch.autograd.grad(loss(pred, t).sum(), t)[0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_torchvision_agrees_on_boxes_with_an_area(name, theirs, kind):
    results = []
    for loss in (function(name), theirs):
        pred, target = (rows.clone().requires_grad_() for rows in kind())
        value = loss(pred, target, reduction="none")
        results.append((value, *torch.autograd.grad(value.sum(), (pred, target))))
        means = [loss(pred, target, reduction=reduction) for reduction in ("mean", "sum")]
        torch.testing.assert_close(means[0] * 300, means[1])
    for ours, other in zip(*results, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-9)  # they add 1e-7 to areas of 100 and more


@pytest.mark.parametrize("threshold", [1 / 9, 1.0, 3.0])
def test_huber_is_smooth_l1_times_its_threshold_in_value_and_gradient(threshold):
    pred, target = (torch.cat(rows) for rows in zip(nearly_equal(), overlapping(), strict=True))
    results = []
    for loss, options in ((losses.huber_loss, {"delta": threshold}), (losses.smooth_l1_loss, {"beta": threshold})):
        p = pred.clone().requires_grad_()
        value = loss(p, target, **options)
        results.append((value, torch.autograd.grad(value.sum(), p)[0]))
    for ours, other in zip(*results, strict=True):
        torch.testing.assert_close(ours, other * threshold)


def test_balanced_l1_by_its_published_code():
    pred, target = (torch.cat(rows) for rows in zip(nearly_equal(), overlapping(), strict=True))
    alpha, gamma = 0.5, 1.5
    z = (pred - target).abs()
    b = math.e ** (gamma / alpha) - 1
    near = alpha / b * (b * z + 1) * torch.log(b * z + 1) - alpha * z
    each = torch.where(z < 1, near, gamma * z + gamma / b - alpha)
    torch.testing.assert_close(losses.balanced_l1_loss(pred, target), each.sum(1))
