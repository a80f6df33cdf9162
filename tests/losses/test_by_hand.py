"""Every loss at boxes that can be worked by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from smoothiou import losses
from smoothiou.losses import LOSSES
from tests.losses.cases import function
from tests.losses.formulas import FORMULAS
from tests.losses.test_newer_losses import ANSWERS

E3 = math.exp(3)
MOVED = ((0, 0, 10, 10), (5, 0, 15, 10))
"""A square, moved by half its side: they share 50 of 150, and the enclosing box is 15 x 10."""
NARROW = ((3, 0, 7, 10), (0, 0, 10, 10))
"""Too narrow by 3 on either side: it covers 40 of 100, centred."""
CROSSED = ((0, 4, 10, 6), (4, 0, 6, 10))
"""Bars of 10 x 2 and 2 x 10, crossed: they share 4 of 36, and the enclosing box is 10 x 10."""
APART = ((0, 0, 10, 10), (30, 40, 40, 50))
"""A square, moved by 30 and 40, so by 50: the enclosing box is 40 x 50."""
V_NARROW = 4 / math.pi**2 * (math.atan(0.4) - math.pi / 4) ** 2
V_CROSSED = 4 / math.pi**2 * (math.atan(5) - math.atan(0.2)) ** 2
BY_HAND = [
    ("iou", MOVED, 2 / 3, "1 - 50/150"),
    ("iou", NARROW, 0.6, "1 - 40/100"),
    ("iou", CROSSED, 8 / 9, "1 - 4/36"),
    ("iou", APART, 1, "nothing is shared"),
    ("iou-log", MOVED, math.log(3), "-ln(1/3)"),
    ("iou-log", CROSSED, math.log(9), "-ln(1/9)"),
    ("iou-log", APART, 6 * math.log(10), "-ln(1e-6), where it stops"),
    ("iou-squared", MOVED, 8 / 9, "1 - 1/9"),
    ("iou-squared", NARROW, 0.84, "1 - .16"),
    ("alpha-iou", MOVED, 26 / 27, "1 - 1/27"),
    ("alpha-iou", NARROW, 0.936, "1 - .064"),
    ("bounded-iou", MOVED, 0.9, "the best IoU with this x is 0: |1| - .2/2; the other three are right"),
    ("bounded-iou", NARROW, 0.5, "the best IoU with this width is .4: .6 - .2/2"),
    ("bounded-iou", CROSSED, 1.4, "with this width .2, with this height .2: twice .8 - .2/2"),
    ("bounded-iou", APART, 1.8, "x and y are hopeless, the sides right"),
    ("giou", MOVED, 2 / 3, "the enclosing box has no hole"),
    ("giou", CROSSED, 8 / 9 + 0.64, "64 of the enclosing box's 100 are empty"),
    ("giou", APART, 1.9, "1800 of the enclosing box's 2000 are empty"),
    ("diou", MOVED, 2 / 3 + 1 / 13, "centres 5 apart, diagonal^2 = 15^2 + 10^2: 25/325"),
    ("diou", CROSSED, 8 / 9, "one centre"),
    ("diou", APART, 1 + 25 / 41, "50^2 / (40^2 + 50^2)"),
    ("ciou", MOVED, 2 / 3 + 1 / 13, "DIoU, as the aspect ratios are equal"),
    ("ciou", NARROW, 0.6 + V_NARROW**2 / (0.6 + V_NARROW), "alpha v with alpha = v / (1 - IoU + v)"),
    ("ciou", CROSSED, 8 / 9 + V_CROSSED**2 / (8 / 9 + V_CROSSED), "5 : 1 beside 1 : 5"),
    ("efficient-iou", MOVED, 2 / 3 + 1 / 13, "DIoU, as the sides are equal"),
    ("efficient-iou", NARROW, 0.96, ".6 + (6/10)^2"),
    ("efficient-iou", CROSSED, 8 / 9 + 2 * 0.64, "both sides are off by 8 of the enclosing box's 10"),
    ("extended-iou", MOVED, 2 / 3 - 0.05, "linear: 1 - IoU - .1/2"),
    ("extended-iou", NARROW, 0.55, ".6 - .05"),
    ("extended-iou", APART, 1 + 2200 / 2400 - 0.05, "I = 10 10 + 10 10 - 30 40 - 40 30 = -2200, U = 200 + 2200"),
    ("siou", MOVED, 2 / 3 + (1 - math.exp(-2 / 9)) / 2, "along an axis gamma = 2: 1 - exp(-2 (5/15)^2)"),
    ("siou", NARROW, 0.6 + (1 - math.exp(-0.6)) ** 4 / 2, "the width is off by .6 of the larger one"),
    ("siou", CROSSED, 8 / 9 + (1 - math.exp(-0.8)) ** 4, "both sides are off by .8 of the larger one"),
    (
        "siou",
        APART,
        2 - math.exp(-1.04 * 0.75**2) / 2 - math.exp(-1.04 * 0.8**2) / 2,
        "sine .8 and cosine .6: sin(2 angle) = .96, gamma = 1.04; 30/40 and 40/50 of the enclosing box",
    ),
    ("powerful-iou", MOVED, 2 / 3 + 1 - math.exp(-1 / 16), "two edges off by half a side: P = (1/2 + 1/2) / 4"),
    ("powerful-iou", NARROW, 1.6 - math.exp(-(0.15**2)), "P = (.3 + .3) / 4"),
    ("powerful-iou", CROSSED, 8 / 9 + 1 - math.exp(-(1.2**2)), "P = (4/2 + 4/2 + 4/10 + 4/10) / 4"),
    ("powerful-iou", APART, 2 - math.exp(-(3.5**2)), "P = (3 + 3 + 4 + 4) / 4"),
    ("l1", MOVED, 10, "5 + 5"),
    ("l2", MOVED, 25, "5^2 / 2 twice"),
    ("huber", MOVED, 9, "5 - 1/2 twice"),
    ("smooth-l1", MOVED, 10 - 1 / 9, "5 - 1/18 twice"),
    (
        "balanced-l1",
        MOVED,
        2 * (1.5 * E3 / (E3 - 1) - 0.5 + 6),
        "b = e^3 - 1: .5/b (b + 1) 3 - .5, then 1.5 * 4",
    ),
    ("l1-giou", MOVED, 50 + 4 / 3, "5 * 10 + 2 * 2/3"),
    ("l1-giou", APART, 5 * 140 + 2 * 1.9, "four corners off by 30, 40, 30, 40"),
    ("mix", MOVED, 1 / 3 + 4.5, "half of 2/3 and half of 9"),
    ("smooth-iou", MOVED, 2 / 9 + 6, "lambda = 1/3: 1/3 of 2/3 and 2/3 of 9"),
    ("smooth-iou", APART, 138, "lambda = 0: Huber alone, 29.5 + 39.5 + 29.5 + 39.5"),
]


@pytest.mark.parametrize(("name", "pair", "expected", "why"), BY_HAND, ids=[f"{row[0]}: {row[3]}" for row in BY_HAND])
def test_by_hand(name, pair, expected, why):
    pred, target = (torch.tensor([row], dtype=torch.float64) for row in pair)
    torch.testing.assert_close(function(name)(pred, target), torch.tensor([expected], dtype=torch.float64))


def test_every_loss_was_worked_by_hand_and_every_loss_of_overlap_has_a_formula():
    newer = {name for name, _ in ANSWERS}
    assert {row[0] for row in BY_HAND} | newer == set(LOSSES)
    overlap = {name for name in LOSSES if LOSSES[name].info.space == "boxes"}
    assert set(FORMULAS) <= overlap <= set(FORMULAS) | newer


DISTANCES = [0.0, 1.0, 5.0, 9.0, 11.0, 20.0, 50.0, 200.0]


def moved_away(name: str, direction: tuple[float, float]) -> list[float]:
    """Losses of a 10 x 10 box as it moves away from its target."""
    target = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64).expand(len(DISTANCES), 4)
    away = torch.tensor(DISTANCES, dtype=torch.float64).unsqueeze(1) * torch.tensor(direction * 2, dtype=torch.float64)
    return function(name)(target + away, target).tolist()


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, -1.0), (-0.6, 0.8), (0.7, 0.7)])
@pytest.mark.parametrize("name", [name for name in sorted(FORMULAS) if not LOSSES[name].info.vanishes_when_disjoint])
def test_grows_with_the_distance_also_beyond_the_overlap(name, direction):
    """So does SIoU, whose distance cost has the wrong sign in MMDetection 3.3: there 50 apart costs nothing."""
    value = moved_away(name, direction)
    assert value[0] == 0
    if name == "powerful-iou":
        value = value[:6]  # 1 - exp(-P^2) is flat from there on
    assert all(near < far for near, far in pairwise(value))


def test_siou_at_the_distances_at_which_mmdetection_falls():
    # 1 - IoU + (1 - exp(-2 (d / (10 + d))^2)) / 2: at 9 IoU is 1/19, further away 0.
    expected = [0.0, 0.0, 0.0, 18 / 19] + [1.0] * 4
    expected = [i + (1 - math.exp(-2 * (d / (10 + d)) ** 2)) / 2 for i, d in zip(expected, DISTANCES, strict=True)]
    assert moved_away("siou", (1.0, 0.0))[3:] == pytest.approx(expected[3:], abs=1e-12)


def test_the_logarithm_ends_at_an_iou_of_a_millionth():
    # 1 of 100 million is covered, then 1 of 10,000: below 1e-6 the loss is flat, above it pulls.
    target = torch.tensor([[0.0, 0, 1e4, 1e4], [0, 0, 100, 100]], dtype=torch.float64)
    pred = torch.tensor([[5.0, 5, 6, 6]], dtype=torch.float64).repeat(2, 1).requires_grad_()
    value = losses.iou_log_loss(pred, target)
    value.sum().backward()
    torch.testing.assert_close(value, torch.tensor([6.0, 4.0], dtype=torch.float64) * math.log(10))
    assert pred.grad is not None
    assert pred.grad[0].tolist() == [0, 0, 0, 0]
    assert pred.grad[1].tolist() == pytest.approx([1, 1, -1, -1])


class TestAlphaOfCiou:
    """aaai: v / (1 - IoU + v) everywhere; tcyb: nothing where IoU is at most one half."""

    target = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64)

    def penalty(self, width: float, alpha: str) -> float:
        """What the aspect ratio costs a centred box of this width."""
        pred = torch.tensor([[5 - width / 2, 0, 5 + width / 2, 10]], dtype=torch.float64)
        return (losses.ciou_loss(pred, self.target, alpha=alpha) - losses.diou_loss(pred, self.target)).item()

    @pytest.mark.parametrize("width", [2.0, 4.9, 5.0, 5.1, 8.0])
    def test_by_hand(self, width):
        v = 4 / math.pi**2 * (math.pi / 4 - math.atan(width / 10)) ** 2
        with_alpha = v * v / (1 - width / 10 + v)
        assert self.penalty(width, "aaai") == pytest.approx(with_alpha, rel=1e-9)
        assert self.penalty(width, "tcyb") == pytest.approx(with_alpha if width > 5 else 0.0, rel=1e-9, abs=1e-15)

    @pytest.mark.parametrize("alpha", ["aaai", "tcyb"])
    def test_equal_boxes_cost_nothing(self, alpha):
        """MMDetection 3.3 has NaN here: v / (1 - IoU + v) is 0 / 0."""
        pred = self.target.clone().requires_grad_()
        value = losses.ciou_loss(pred, self.target, alpha=alpha)
        value.sum().backward()
        assert value.item() == 0
        assert pred.grad is not None
        assert torch.equal(pred.grad, torch.zeros(1, 4, dtype=torch.float64))

    def test_alpha_is_a_constant_to_the_gradient(self):
        # Twice alpha v / width, not more: with alpha in the graph the slope of alpha would come on top.
        pred = torch.tensor([[1.0, 0, 9, 10]], dtype=torch.float64, requires_grad=True)
        of_ciou, of_diou = (
            torch.autograd.grad(loss(pred, self.target).sum(), pred)[0] for loss in (losses.ciou_loss, losses.diou_loss)
        )
        turn = math.pi / 4 - math.atan(0.8)
        v = 4 / math.pi**2 * turn**2
        alpha = v / (0.2 + v)
        # d atan(w/h)/dw = h / (w^2 + h^2), and the right edge widens the box.
        expected = -alpha * 8 / math.pi**2 * turn * 10 / (8**2 + 10**2)
        assert (of_ciou - of_diou)[0, 2].item() == pytest.approx(expected, rel=1e-9)
