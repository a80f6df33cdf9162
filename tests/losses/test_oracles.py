"""Every loss of overlap against the formula of its paper, written down here once more and left to autograd.

The formulas take corners in float64, on boxes with an area, away from kinks. Nothing here is shared with the code
under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou import losses
from smoothiou.losses import LOSSES
from tests.losses.test_newer_losses import ANSWERS


class Pair:
    """Two boxes as a reader draws them: corners, sides, centres, what they share and what holds both."""

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        self.x1, self.y1, self.x2, self.y2 = pred.unbind(1)
        self.u1, self.v1, self.u2, self.v2 = target.unbind(1)
        self.width, self.height = self.x2 - self.x1, self.y2 - self.y1
        self.target_width, self.target_height = self.u2 - self.u1, self.v2 - self.v1
        self.dx = (self.x1 + self.x2) / 2 - (self.u1 + self.u2) / 2
        self.dy = (self.y1 + self.y2) / 2 - (self.v1 + self.v2) / 2
        self.enclosing_width = torch.maximum(self.x2, self.u2) - torch.minimum(self.x1, self.u1)
        self.enclosing_height = torch.maximum(self.y2, self.v2) - torch.minimum(self.y1, self.v1)
        shared_width = (torch.minimum(self.x2, self.u2) - torch.maximum(self.x1, self.u1)).clamp(min=0)
        shared_height = (torch.minimum(self.y2, self.v2) - torch.maximum(self.y1, self.v1)).clamp(min=0)
        self.areas = self.width * self.height + self.target_width * self.target_height
        self.intersection = shared_width * shared_height
        self.union = self.areas - self.intersection
        self.iou = self.intersection / self.union
        # The squared distance of the centres, as a share of the squared diagonal of the enclosing box.
        self.distance = (self.dx**2 + self.dy**2) / (self.enclosing_width**2 + self.enclosing_height**2)


def giou(b: Pair) -> Tensor:
    enclosing = b.enclosing_width * b.enclosing_height
    return 1 - b.iou + (enclosing - b.union) / enclosing


def ciou(b: Pair, *, gated: bool = False) -> Tensor:
    aspects = torch.atan(b.target_width / b.target_height) - torch.atan(b.width / b.height)
    v = 4 / math.pi**2 * aspects**2
    alpha = (v / (1 - b.iou + v)).detach()
    if gated:
        alpha = torch.where(b.iou > 0.5, alpha, 0)
    return 1 - b.iou + b.distance + alpha * v


def efficient_iou(b: Pair) -> Tensor:
    of_width = ((b.width - b.target_width) / b.enclosing_width) ** 2
    return 1 - b.iou + b.distance + of_width + ((b.height - b.target_height) / b.enclosing_height) ** 2


def smooth(z: Tensor, beta: float) -> Tensor:
    return torch.where(z < beta, z**2 / (2 * beta), z - beta / 2)


def extended_iou(b: Pair, *, smooth_point: float = 0.1) -> Tensor:
    # Steps of the published code, in its names.
    ex1, ey1 = torch.minimum(b.x1, b.u1), torch.minimum(b.y1, b.v1)
    ix1, iy1 = torch.maximum(b.x1, b.u1), torch.maximum(b.y1, b.v1)
    ix2, iy2 = torch.minimum(b.x2, b.u2), torch.minimum(b.y2, b.v2)
    xmin, xmax = torch.minimum(ix1, ix2), torch.maximum(ix1, ix2)
    ymin, ymax = torch.minimum(iy1, iy2), torch.maximum(iy1, iy2)
    intersection = (
        (ix2 - ex1) * (iy2 - ey1)
        + (xmin - ex1) * (ymin - ey1)
        - (ix1 - ex1) * (ymax - ey1)
        - (xmax - ex1) * (iy1 - ey1)
    )
    return smooth(1 - intersection / (b.areas - intersection), smooth_point)


def siou(b: Pair) -> Tensor:
    length = torch.sqrt(b.dx**2 + b.dy**2)
    angle = torch.arcsin(b.dy.abs() / length)
    angle_cost = 1 - 2 * torch.sin(angle - math.pi / 4) ** 2
    gamma = 2 - angle_cost
    distance = (
        2 - torch.exp(-gamma * (b.dx / b.enclosing_width) ** 2) - torch.exp(-gamma * (b.dy / b.enclosing_height) ** 2)
    )
    of_width = (b.width - b.target_width).abs() / torch.maximum(b.width, b.target_width)
    of_height = (b.height - b.target_height).abs() / torch.maximum(b.height, b.target_height)
    shape = (1 - torch.exp(-of_width)) ** 4 + (1 - torch.exp(-of_height)) ** 4
    return 1 - b.iou + (distance + shape) / 2


def powerful_iou(b: Pair) -> Tensor:
    of_width = ((b.x1 - b.u1).abs() + (b.x2 - b.u2).abs()) / b.target_width
    of_height = ((b.y1 - b.v1).abs() + (b.y2 - b.v2).abs()) / b.target_height
    p = (of_width + of_height) / 4
    return 1 - b.iou + 1 - torch.exp(-(p**2))


def bounded_iou(b: Pair, *, beta: float = 0.2) -> Tensor:
    bounds = (
        ((b.target_width - 2 * b.dx.abs()) / (b.target_width + 2 * b.dx.abs())).clamp(min=0),
        ((b.target_height - 2 * b.dy.abs()) / (b.target_height + 2 * b.dy.abs())).clamp(min=0),
        torch.minimum(b.width / b.target_width, b.target_width / b.width),
        torch.minimum(b.height / b.target_height, b.target_height / b.height),
    )
    return sum((smooth(1 - bound, beta) for bound in bounds), torch.zeros_like(b.iou))


FORMULAS: dict[str, Callable[[Pair], Tensor]] = {
    "iou": lambda b: 1 - b.iou,
    "iou-log": lambda b: -torch.log(b.iou.clamp(min=1e-6)),
    "iou-squared": lambda b: 1 - b.iou**2,
    "alpha-iou": lambda b: 1 - b.iou**3,
    "bounded-iou": bounded_iou,
    "giou": giou,
    "diou": lambda b: 1 - b.iou + b.distance,
    "ciou": ciou,
    "efficient-iou": efficient_iou,
    "extended-iou": extended_iou,
    "siou": siou,
    "powerful-iou": powerful_iou,
}
OPTIONS = [
    ("alpha-iou", {"alpha": 2.5}, lambda b: 1 - b.iou**2.5),
    ("alpha-iou", {"alpha": 1}, lambda b: 1 - b.iou),
    ("alpha-iou", {"alpha": 2}, lambda b: 1 - b.iou**2),
    ("bounded-iou", {"beta": 0.6}, lambda b: bounded_iou(b, beta=0.6)),
    ("ciou", {"alpha": "tcyb"}, lambda b: ciou(b, gated=True)),
    ("extended-iou", {"smooth_point": 0.7}, lambda b: extended_iou(b, smooth_point=0.7)),
]
CASES = [(name, {}, formula) for name, formula in FORMULAS.items()] + OPTIONS


def function(name: str) -> Callable[..., Tensor]:
    return getattr(losses, name.replace("-", "_") + "_loss")


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
