"""Boxes for which torchvision's losses give a wrong answer, and what ours give.

Each test shows both. Where it says "fixed", torchvision has been: then the case leaves this file, and the README's
claim with it. Threads: pytorch/vision 7746 (equal boxes without area), 2240 (degenerate boxes), 9518.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou.losses import ciou_loss, diou_loss, giou_loss

Box = tuple[float, float, float, float]

GIOU = pytest.param(generalized_box_iou_loss, giou_loss, id="giou")
DIOU = pytest.param(distance_box_iou_loss, diou_loss, id="diou")
CIOU = pytest.param(complete_box_iou_loss, ciou_loss, id="ciou")
FIXED = "fixed in torchvision: drop this case"


def at(loss: Callable[..., Tensor], pred: Box, target: Box, **options) -> tuple[float, Tensor]:
    """Return (loss, its gradient (4,) to the prediction)."""
    boxes1 = torch.tensor([pred], dtype=torch.float32, requires_grad=True)
    value = loss(boxes1, torch.tensor([target], dtype=torch.float32), reduction="sum", **options)
    value.backward()
    assert boxes1.grad is not None
    return value.item(), boxes1.grad[0]


SQUARE = (0.0, 0.0, 10.0, 10.0)
LINE = (0.0, 5.0, 10.0, 5.0)
POINT = (5.0, 5.0, 5.0, 5.0)


def test_a_prediction_without_height_has_a_ciou_gradient():
    value, gradient = at(complete_box_iou_loss, LINE, SQUARE)
    assert value == pytest.approx(1.05)
    assert gradient.isnan().all(), FIXED  # atan(w / 0): one such box, and every weight of the model is NaN
    value, gradient = at(ciou_loss, LINE, SQUARE)
    assert value == pytest.approx(1.05)  # 1 + v^2 / (1 + v) with v = 4 / pi^2 (pi / 4)^2 = 1/4
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("pred", "target"), [(POINT, SQUARE), (SQUARE, POINT)], ids=["prediction", "target"])
def test_a_point_has_a_ciou(pred, target):
    value, gradient = at(complete_box_iou_loss, pred, target)
    assert value != value, FIXED  # NaN: w / h is 0 / 0
    assert gradient.isnan().all(), FIXED
    value, gradient = at(ciou_loss, pred, target)
    assert value == pytest.approx(1)  # no overlap, one centre, and a point has no shape
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("theirs", "ours"), [GIOU, DIOU, CIOU])
@pytest.mark.parametrize("box", [POINT, LINE], ids=["point", "line"])
def test_equal_boxes_without_area_are_equal(theirs, ours, box):
    value, _ = at(theirs, box, box)
    assert value != 0, FIXED  # 1, or NaN: 0 / (0 + 1e-7)
    value, gradient = at(ours, box, box)
    assert value == 0
    assert gradient.tolist() == [0, 0, 0, 0]


def test_equal_lines_are_not_torn_apart():
    _, gradient = at(generalized_box_iou_loss, LINE, LINE)
    assert gradient.abs().max() > 1e7, FIXED  # 10 / 1e-7: away from the target
    _, gradient = at(giou_loss, LINE, LINE)
    assert gradient.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("theirs", "ours"), [GIOU, DIOU, CIOU])
def test_equal_small_boxes_are_equal(theirs, ours):
    small = (0.0, 0.0, 1e-3, 1e-3)  # in shares of the image a thousandth is a pixel
    value, gradient = at(theirs, small, small)
    assert value == pytest.approx(1 / 11, rel=1e-4), FIXED  # 1e-6 / (1e-6 + 1e-7)
    assert gradient.abs().max() > 40, FIXED
    value, gradient = at(ours, small, small)
    assert value == 0
    assert gradient.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("theirs", "ours"), [GIOU, DIOU, CIOU])
@pytest.mark.parametrize("unit", [1e-4, 1e-20, 1e20])
def test_the_unit_of_the_boxes_does_not_matter(theirs, ours, unit):
    """A box and its left half: they share one half, whatever they are measured in."""
    whole, half = (0.0, 0.0, unit, unit), (0.0, 0.0, unit / 2, unit)
    right, _ = at(theirs, (0.0, 0.0, 100.0, 100.0), (0.0, 0.0, 50.0, 100.0))
    value, _ = at(theirs, whole, half)
    assert not value < right + 0.3, FIXED  # eps = 1e-7 outweighs the areas, or they overflow: NaN
    value, gradient = at(ours, whole, half)
    assert value == pytest.approx(right, abs=1e-6)
    _, expected = at(ours, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0))
    torch.testing.assert_close(gradient.double() * unit, expected.double(), rtol=1e-5, atol=1e-5)


def test_ciou_has_no_eps_that_would_help():
    whole, half = (0.0, 0.0, 1e-4, 1e-4), (0.0, 0.0, 5e-5, 1e-4)
    values = [at(complete_box_iou_loss, whole, half, eps=eps)[0] for eps in (1e-7, 1e-12)]
    assert values[0] == values[1], FIXED  # it is not handed on to the part that divides by areas
    of_diou = [at(distance_box_iou_loss, whole, half, eps=eps)[0] for eps in (1e-7, 1e-12)]
    assert of_diou[0] - of_diou[1] > 0.1
    assert at(ciou_loss, whole, half)[0] == pytest.approx(0.5345, abs=1e-4)  # ours has no eps at all


def test_a_turned_box_is_not_a_perfect_one():
    """Both corners swapped: two negative sides make a positive area."""
    turned = (10.0, 10.0, 0.0, 0.0)
    assert at(generalized_box_iou_loss, turned, SQUARE)[0] == 0, FIXED
    assert at(giou_loss, turned, SQUARE)[0] == pytest.approx(1)  # it covers nothing


def test_giou_stays_in_its_range_when_both_boxes_are_inverted():
    value, _ = at(generalized_box_iou_loss, (8.0, 0.0, 2.0, 10.0), (30.0, 0.0, 20.0, 10.0))
    assert value > 3, FIXED
    assert at(giou_loss, (8.0, 0.0, 2.0, 10.0), (30.0, 0.0, 20.0, 10.0))[0] <= 2


@pytest.mark.parametrize(("theirs", "ours"), [GIOU, DIOU, CIOU])
def test_whole_numbers_are_refused_as_boxes_that_cannot_learn(theirs, ours):
    whole = torch.tensor([[0, 0, 10, 10]])
    assert theirs(whole, whole).dtype == torch.float32, FIXED  # and silently without a gradient
    with pytest.raises(ValueError, match=r"boxes\.float"):
        ours(whole, whole)


@pytest.mark.parametrize(("theirs", "ours"), [GIOU, DIOU, CIOU])
def test_one_target_is_not_silently_compared_with_all_predictions(theirs, ours):
    assert theirs(torch.rand(3, 4), torch.rand(1, 4)).shape == (3,), FIXED
    with pytest.raises(ValueError, match="shape"):
        ours(torch.rand(3, 4), torch.rand(1, 4))
