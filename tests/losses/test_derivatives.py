"""The gradient of every loss is that of its value, by every way to ask for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from smoothiou import losses
from smoothiou.losses import LOSSES, SmoothIoU
from tests.losses.cases import box_pair, deltas, each_loss, each_overlap_loss, function, random_boxes, run


def extent(pred: Tensor, target: Tensor, axis: int) -> Tensor:
    """Side of the enclosing boxes along an axis."""
    return torch.maximum(pred, target)[:, axis + 2] - torch.minimum(pred, target)[:, axis]


def squared_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Of the centres."""
    return (((pred - target)[:, :2] + (pred - target)[:, 2:]) / 2).square().sum(1)


def differentiable(name: str) -> tuple[Callable[..., Tensor], Tensor, Tensor]:
    """A loss whose gradient is that of its value, and boxes off its kinks."""
    pred, target = random_boxes(10, seed=3), random_boxes(10, seed=4)
    if name == "smooth-iou":  # lambda is a constant to autograd but not to finite differences: hold it
        return SmoothIoU(lam=0.4).on_boxes, pred, target
    if name == "wise-iou":  # so is the enclosing box
        diagonal = torch.stack([extent(pred, target, axis) ** 2 for axis in (0, 1)]).sum(0)
        return lambda p, t: torch.exp(squared_distance(p, t) / diagonal) * function("iou")(p, t), pred, target
    if name == "ciou":  # so is alpha: see test_oracles.py, which differentiates the formula
        return function("diou"), pred, target
    if name in ("balanced-l1", "huber", "smooth-l1", "mix"):  # bent within 1 of the target
        near = target + (pred - target) / 30
        assert ((near - target).abs() < 0.9).any()
        pred = torch.cat((pred[:5], near[5:]))
    return function(name), pred, target


class TestDerivatives:
    @each_loss
    def test_gradcheck_and_double_backward(self, name):
        loss, pred, target = differentiable(name)
        assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target.requires_grad_()), fast_mode=True)
        assert torch.autograd.gradgradcheck(loss, (pred, target), fast_mode=True)

    @pytest.mark.slow
    @each_loss
    def test_gradcheck_of_each_number(self, name):
        loss, pred, target = differentiable(name)
        assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target.requires_grad_()))

    @each_overlap_loss
    def test_torch_func_has_the_same_loss_and_gradient(self, name):
        pred, target = box_pair(6)
        loss = function(name)
        value, gradient = run(loss, pred, target)
        torch.testing.assert_close(torch.func.grad(lambda rows: loss(rows, target).sum())(pred), gradient)
        each = torch.func.vmap(lambda row, other: loss(row[None], other[None])[0])(pred, target)
        torch.testing.assert_close(each, value)
        jacobian = torch.func.jacrev(lambda rows: loss(rows, target))(pred)
        torch.testing.assert_close(jacobian.sum(0), gradient)

    @pytest.mark.parametrize("alpha", [1, 1.3, 1.99, 2, 3])
    def test_alpha_iou_has_a_second_derivative_at_iou_0(self, alpha):
        # alpha (alpha - 1) IoU^(alpha - 2) at IoU 0: of disjoint boxes, and of boxes that touch in an edge or a corner.
        pred = torch.tensor([[0.0, 0, 4, 4]], dtype=torch.float64).repeat(4, 1).requires_grad_()
        target = torch.tensor([[9.0, 9, 12, 12], [4, 0, 8, 4], [4, 4, 8, 8], [1, 2, 3, 5]], dtype=torch.float64)
        loss = losses.alpha_iou_loss(pred, target, alpha=alpha)
        once = torch.autograd.grad(loss.sum(), pred, create_graph=True)[0]
        twice = torch.autograd.grad((once**2).sum(), pred)[0]
        assert once.isfinite().all()
        assert twice.isfinite().all()
        assert twice[3].any()  # the pair that overlaps has one

    @each_loss
    def test_what_stands_behind_the_loss_reaches_each_row(self, name):
        pred, target = box_pair(8)
        factor = torch.arange(8, dtype=torch.float64) - 3
        _, gradient = run(function(name), pred, target)
        _, weighted = run(lambda p, t: function(name)(p, t) * factor, pred, target)
        torch.testing.assert_close(weighted, gradient * factor.unsqueeze(1))

    @each_loss
    def test_float32_agrees_with_float64(self, name):
        exact, exact_gradient = run(LOSSES[name](), **deltas(500, seed=5))
        value, gradient = run(LOSSES[name](), **deltas(500, seed=5, dtype=torch.float32))
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-3, atol=1e-5)
