"""Every loss is called as torchvision's, with its reductions, shapes and types."""

from __future__ import annotations

import inspect

import pytest
import torch

from smoothiou import losses
from smoothiou.losses import LOSSES
from tests.losses.cases import box_pair, deltas, each_loss, function, run


class TestCallingConvention:
    """As in `torchvision.ops.generalized_box_iou_loss(boxes1, boxes2, reduction="none")`."""

    @each_loss
    def test_has_torchvisions_arguments_and_reductions(self, name):
        first = list(inspect.signature(function(name)).parameters)[:2]
        assert first == (["pred", "target"] if name == "smooth-iou" else ["boxes1", "boxes2"])
        assert function(name).__name__ in losses.__all__
        pred, target = box_pair(7)
        before = pred.clone(), target.clone()
        each, gradient = run(function(name), pred, target)
        assert each.shape == (7,)
        assert torch.equal(function(name)(pred, target, reduction="none"), each)
        torch.testing.assert_close(function(name)(pred, target, reduction="sum"), each.sum())
        mean, of_mean = run(lambda p, t: function(name)(p, t, reduction="mean"), pred, target)
        torch.testing.assert_close(mean, each.mean())
        torch.testing.assert_close(of_mean, gradient / 7)
        assert torch.equal(pred, before[0])
        assert torch.equal(target, before[1])

    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    @each_loss
    def test_no_boxes_give_zero_with_a_graph(self, name, reduction):
        pred = torch.zeros(0, 4, requires_grad=True)
        value = function(name)(pred, torch.zeros(0, 4), reduction=reduction)
        assert value.shape == ((0,) if reduction == "none" else ())
        assert value.sum() == 0
        value.sum().backward()
        assert pred.grad is not None
        value, gradient = run(LOSSES[name](), torch.zeros(0, 4), torch.zeros(0, 4), anchors=torch.zeros(0, 4))
        assert value.shape == (0,)
        assert gradient.shape == (0, 4)

    @each_loss
    def test_takes_views_and_transposed_boxes(self, name):
        pred, target = box_pair(12)
        value, gradient = run(function(name), pred, target)
        transposed = pred.t().contiguous().t()
        again, again_gradient = run(function(name), transposed, torch.cat((target, target), 1)[:, :4])
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(again_gradient, gradient)

    @each_loss
    def test_boxes_are_independent_but_for_lambda(self, name):
        rows = deltas(6)
        value, _ = run(LOSSES[name](), **rows)
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        shuffled, _ = run(LOSSES[name](), **{key: columns[order] for key, columns in rows.items()})
        torch.testing.assert_close(shuffled, value[order])
        if name != "smooth-iou":
            first, _ = run(LOSSES[name](), **{key: columns[:1] for key, columns in rows.items()})
            torch.testing.assert_close(first, value[:1])

    @each_loss
    def test_types_may_differ(self, name):
        rows = deltas(5)
        anchors = rows["anchors"]
        assert LOSSES[name]()(rows["pred"].half(), rows["target"].float(), anchors=anchors).dtype == torch.float32
        assert LOSSES[name]()(rows["pred"].float(), rows["target"], anchors=anchors).dtype == torch.float64
