"""What moves both boxes alike, or exchanges them, and what every loss makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from smoothiou import boxes
from smoothiou.losses import LOSSES
from tests.losses.cases import INFO, box_pair, deltas, each_loss, each_overlap_loss, function, run, some_anchors


class TestSymmetries:
    """What moves both boxes alike changes no loss of overlap, and its gradient as the chain rule says."""

    def compare(self, name: str, move: Callable[[Tensor], Tensor]) -> None:
        pred, target = box_pair()
        value, gradient = run(function(name), pred, target)
        moved, moved_gradient = run(lambda p, t: function(name)(move(p), move(t)), pred, target)
        torch.testing.assert_close(moved, value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(moved_gradient, gradient, rtol=1e-9, atol=1e-9)

    @each_loss
    def test_translation(self, name):
        self.compare(name, lambda rows: rows + torch.tensor((-700.0, 90.0) * 2, dtype=torch.float64))

    @pytest.mark.parametrize("factor", [0.25, 3.7, 1e12, 1e-12])
    @each_overlap_loss
    def test_scale(self, name, factor):
        if INFO[name].frame == "size":
            pred, target = box_pair()
            assert (function(name)(pred * factor, target * factor) - function(name)(pred, target)).abs().max() > 1e-3
            return
        self.compare(name, lambda rows: rows * factor)

    @each_overlap_loss
    def test_scale_of_each_axis_where_any_frame_will_do(self, name):
        def stretch(rows: Tensor) -> Tensor:
            return rows * torch.tensor((3.0, 0.2) * 2, dtype=torch.float64)

        if INFO[name].frame == "any":
            self.compare(name, stretch)
        else:
            pred, target = box_pair()
            assert (function(name)(stretch(pred), stretch(target)) - function(name)(pred, target)).abs().max() > 0.01

    @each_loss
    def test_x_and_y_may_change_places(self, name):
        self.compare(name, lambda rows: rows[:, [1, 0, 3, 2]])

    @each_loss
    def test_mirrors(self, name):
        def mirrored(rows: Tensor) -> Tensor:
            x1, y1, x2, y2 = rows.unbind(1)
            return torch.stack((-x2, y1, -x1, y2), 1)

        if name != "extended-iou":
            self.compare(name, mirrored)
            return
        # Its intersection is counted from the low edge, which shows where boxes are disjoint along one axis alone.
        pred, target = box_pair()
        change = (function(name)(mirrored(pred), mirrored(target)) - function(name)(pred, target)).abs()
        touching = boxes.aligned_iou(pred, target) > 0
        assert change[touching].max() < 1e-12
        assert change[~touching].max() > 0.01

    @each_loss
    def test_prediction_and_target_may_change_places_or_not(self, name):
        pred, target = (rows.requires_grad_() for rows in box_pair())
        value, swapped = function(name)(pred, target), function(name)(target, pred)
        if not INFO[name].symmetric:
            assert (value - swapped).abs().max() > 0.1
            return
        to_pred, to_target = torch.autograd.grad(value.sum(), (pred, target))
        to_target_swapped, to_pred_swapped = torch.autograd.grad(swapped.sum(), (target, pred))
        torch.testing.assert_close(swapped, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(to_pred_swapped, to_pred, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(to_target_swapped, to_target, rtol=1e-9, atol=1e-12)

    @each_loss
    def test_disjoint_boxes_have_a_gradient_or_none_as_described(self, name):
        # Four anchor widths off, along both axes.
        pred = torch.tensor([[40.0, 40.0, 0.5, 0.5]])
        _, gradient = run(LOSSES[name](), pred, torch.zeros(1, 4), anchors=some_anchors(1))
        centre = gradient[0, :2]
        assert (centre == 0).all() == INFO[name].vanishes_when_disjoint
        if name == "siou":
            # By its formula the distance counts less at 45 degrees: the longer way is shortened at the other's cost.
            assert centre.sum() > 0
        elif not INFO[name].vanishes_when_disjoint:
            assert (centre > 0).all()  # descent moves the centre back to the target
        elif name != "bounded-iou":  # whose sizes still learn
            assert (gradient == 0).all()

    @each_loss
    def test_a_step_against_the_gradient_lowers_the_loss(self, name):
        rows = deltas(64, seed=4)
        value, gradient = run(LOSSES[name](), **rows)
        lower, _ = run(LOSSES[name](), rows["pred"] - 1e-4 * gradient, rows["target"], anchors=rows["anchors"])
        assert lower.sum() < value.sum()
