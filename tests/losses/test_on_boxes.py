"""What every loss must keep on boxes: as a function with torchvision's calling convention, and as `on_boxes`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothiou import boxes, losses
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, load_loss, smooth_iou_loss

CATALOGUE = {name: loss.info for name, loss in LOSSES.items()}

NAMES = sorted(LOSSES)
OVERLAP = [name for name in NAMES if CATALOGUE[name].space == "boxes"]
OF_CODES = [name for name in NAMES if CATALOGUE[name].space == "deltas"]
SYMMETRIC = [name for name in NAMES if CATALOGUE[name].symmetric]

each_loss = pytest.mark.parametrize("name", NAMES)
each_overlap_loss = pytest.mark.parametrize("name", OVERLAP)


def function(name: str) -> Callable[..., Tensor]:
    return getattr(losses, name.replace("-", "_") + "_loss")


def module(name: str) -> Any:
    return LOSSES[name]()


def alone(name: str) -> Callable[..., Tensor]:
    """The function, with lambda of each box: then no row depends on another one."""
    if name == "smooth-iou":
        return lambda *pair, **options: smooth_iou_loss(*pair, lam="box", **options)
    return function(name)


def run(loss: Callable[..., Tensor], pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return (loss (K,), gradient of its sum to the predictions)."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, target)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def random_boxes(count: int, *, seed: int = 0) -> Tensor:
    """Boxes with sides of 5 to 45, near enough to meet and far enough to miss each other."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    side = 5 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    return torch.cat((corner, corner + side), 1)


def pair(count: int = 60) -> tuple[Tensor, Tensor]:
    pred, target = (random_boxes(max(count, 60), seed=seed) for seed in (0, 1))
    overlap = boxes.aligned_iou(pred, target)
    assert (overlap == 0).any()
    assert (overlap > 0.3).any()
    return pred[:count].clone(), target[:count].clone()


class TestEveryFiniteBox:
    """Value in the card's range and a finite gradient: no area, inverted, tiny, huge, half precision."""

    EXTREMES = (
        0.0,
        1e-45,
        1e-38,
        1e-30,
        1e-20,
        1e-6,
        1.0,
        1 + 2**-23,
        9.0,
        -9.0,
        640.0,
        1e10,
        1e30,
        -1e30,
        3e38,
        -3e38,
    )
    SHAPES = (
        (0, 0, 9, 9),
        (4, 4, 4, 4),  # a point
        (0, 4, 9, 4),  # no height
        (4, 0, 4, 9),  # no width
        (9, 9, 0, 0),  # inverted
        (9, 0, 0, 9),
        (0, 0, 1e-45, 1e-45),
        (0, 0, 1e-20, 1e-20),
        (0, 0, 1, 1e-30),  # a hair
        (0, 0, 1e-30, 1),
        (-3e38, -3e38, 3e38, 3e38),
        (3e38, 3e38, -3e38, -3e38),
        (3e38, 3e38, 3e38, 3e38),
        (1e30, 1e30, 2e30, 2e30),
        (640, 480, 640.00006, 480.00003),  # one rounding step wide
    )

    def check(self, name: str, pred: Tensor, target: Tensor) -> None:
        low, high = CATALOGUE[name].bounds
        for given_pred, given_target in ((pred, target), (target, pred)):
            value, gradient = run(function(name), given_pred, given_target)
            # The first box that breaks a promise is what one wants to read.
            right = value.isfinite() & (value >= low) & (value <= high) & gradient.isfinite().all(1)
            wrong = [(given_pred[k].tolist(), given_target[k].tolist(), value[k].item()) for k in (~right).nonzero()]
            assert wrong[:1] == []

    @given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=24, max_size=24))
    @settings(max_examples=50, deadline=None)
    @each_loss
    def test_of_any_numbers(self, name, numbers):
        self.check(name, torch.tensor(numbers[:12]).view(3, 4), torch.tensor(numbers[12:]).view(3, 4))

    @given(
        corner=st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 2), sides=st.tuples(*[st.floats(-50, 50, width=32)] * 6)
    )
    @settings(max_examples=50, deadline=None)
    @each_loss
    def test_of_any_numbers_near_each_other(self, name, corner, sides):
        x, y = corner
        width, height, right, up, wider, higher = sides
        pred = torch.tensor([[x, y, x + width, y + height]])
        self.check(name, pred, pred + torch.tensor([[right, up, right + wider, up + higher]]))

    @each_loss
    def test_of_extremes(self, name):
        picks = torch.randint(len(self.EXTREMES), (2, 8000, 4), generator=torch.Generator().manual_seed(0))
        self.check(name, *torch.tensor(self.EXTREMES)[picks])

    @each_loss
    def test_of_every_shape_beside_every_shape(self, name):
        rows = torch.tensor(self.SHAPES)
        self.check(name, rows.repeat(len(rows), 1), rows.repeat_interleave(len(rows), 0))

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_of_half_precision_whose_gradient_would_overflow(self, name, dtype):
        limits = torch.finfo(dtype)
        tiny = limits.smallest_normal
        sides = [0, tiny * limits.eps, tiny, 2 * tiny, 1e-4, 1.3e-4, 1, -1, 600, limits.max, -limits.max]
        picks = torch.randint(len(sides), (2, 4000, 4), generator=torch.Generator().manual_seed(0))
        pred, target = torch.tensor(sides, dtype=dtype)[picks]
        # Half of a target that is a few of the smallest numbers wide: one of them moves the overlap by a quarter.
        smallest = tiny * limits.eps
        pred[0], target[0] = torch.tensor([[0, 0, 2 * smallest, 1], [0, 0, 4 * smallest, 1]], dtype=dtype)
        self.check(name, pred, target)
        value, gradient = run(function(name), pred, target)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        expected, exact = run(function(name), pred.float(), target.float())
        assert torch.equal(value, expected)
        # Slopes stop at a quarter of the largest number, so that sums of them are numbers too. (In a mix it is the
        # slope of its term of overlap that stops, before lambda makes it smaller.)
        slopes = [run(function(other), pred.float(), target.float())[1] for other in {name, "iou", "giou"}]
        calm = torch.stack([slope.abs() < limits.max / 8 for slope in slopes]).all(0)
        assert torch.equal(gradient[calm], exact[calm].to(dtype))
        if dtype == torch.float16 and name in OVERLAP:
            assert (exact.abs() > limits.max).any()  # so that the test sees one that saturates
            assert torch.equal(gradient, exact.clamp(-limits.max / 4, limits.max / 4).to(dtype))

    @each_loss
    def test_a_loss_scale_may_still_overflow_which_is_how_the_scale_is_found(self, name):
        pred = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float16, requires_grad=True)
        value = function(name)(pred, torch.tensor([[2.0, 1, 11, 12]], dtype=torch.float16))
        (value.sum() * 2.0**40).backward()
        assert pred.grad is not None
        assert pred.grad.isinf().any()


class TestEqualBoxes:
    def check(self, name: str, same: Tensor) -> None:
        value, gradient = run(function(name), same, same.clone())
        assert torch.equal(value, torch.zeros_like(value))
        assert torch.equal(gradient, torch.zeros_like(gradient))

    @given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=16, max_size=16))
    @settings(max_examples=50, deadline=None)
    @each_loss
    def test_have_loss_and_gradient_zero_exactly(self, name, numbers):
        self.check(name, torch.tensor(numbers).view(4, 4))

    @each_loss
    def test_also_without_area_inverted_tiny_or_huge(self, name):
        self.check(name, torch.tensor(TestEveryFiniteBox.SHAPES))

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_also_in_other_precisions(self, name, dtype):
        self.check(name, (random_boxes(300) - 20).to(dtype))

    @pytest.mark.parametrize("name", SYMMETRIC)
    def test_have_no_gradient_to_the_target_either(self, name):
        same = torch.tensor(TestEveryFiniteBox.SHAPES)
        _, gradient = run(lambda target, pred: function(name)(pred, target), same, same.clone())
        assert torch.equal(gradient, torch.zeros_like(gradient))


class TestNoNumber:
    @pytest.mark.parametrize("coordinate", range(4))
    @pytest.mark.parametrize("of", ["prediction", "target"])
    @each_loss
    def test_nan_gives_nan_for_its_row_and_no_other(self, name, of, coordinate):
        pred, target = (rows.float() for rows in pair(9))
        (pred if of == "prediction" else target)[4, coordinate] = math.nan
        value, _ = run(alone(name), pred, target)
        assert value.isnan().tolist() == [k == 4 for k in range(9)]

    @each_loss
    def test_nan_beside_equal_and_flat_boxes_is_nan_too(self, name):
        rows = torch.tensor(TestEveryFiniteBox.SHAPES)
        for coordinate in range(4):
            broken = rows.clone()
            broken[:, coordinate] = math.nan
            for given_pred, given_target in ((broken, rows), (rows, broken), (broken, broken)):
                assert alone(name)(given_pred, given_target).isnan().all()

    @each_loss
    def test_nan_survives_every_reduction(self, name):
        pred, target = (rows.float() for rows in pair(5))
        pred[2, 1] = math.nan
        assert function(name)(pred, target, reduction="sum").isnan()
        assert function(name)(pred, target, reduction="mean").isnan()

    def test_the_paper_s_lambda_hands_nan_to_every_row(self):
        # It is the mean IoU of all boxes: a model that gives one NaN gets no number to train on.
        pred, target = pair(5)
        pred[2, 1] = math.nan
        assert smooth_iou_loss(pred, target).isnan().all()

    @pytest.mark.parametrize(("coordinate", "broken"), [(0, -math.inf), (1, -math.inf), (2, math.inf), (3, math.inf)])
    @each_loss
    def test_an_infinite_prediction_stays_visible(self, name, coordinate, broken):
        pred, target = (rows.float() for rows in pair(3))
        pred[1, coordinate] = broken
        assert alone(name)(pred, target).isfinite().tolist() == [True, False, True]


class TestSymmetries:
    """What moves both boxes alike changes no loss of overlap, and its gradient as the chain rule says."""

    def compare(self, name: str, move: Callable[[Tensor], Tensor], *, tolerance: float = 1e-9) -> None:
        pred, target = pair()
        value, gradient = run(function(name), pred, target)
        moved, moved_gradient = run(lambda p, t: function(name)(move(p), move(t)), pred, target)
        torch.testing.assert_close(moved, value, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(moved_gradient, gradient, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("shift", [(3.0, -7.0), (-1e4, 2e4)])
    @each_overlap_loss
    def test_translation(self, name, shift):
        self.compare(name, lambda rows: rows + torch.tensor(shift * 2, dtype=torch.float64))

    @each_loss
    def test_translation_of_losses_of_differences(self, name):
        # Those that mix Huber or L1 with overlap, and those of codes, see differences only.
        self.compare(name, lambda rows: rows + torch.tensor((3.0, -7.0) * 2, dtype=torch.float64))

    @pytest.mark.parametrize("factor", [0.25, 3.7, 1e12, 1e-12])
    @each_overlap_loss
    def test_scale(self, name, factor):
        self.compare(name, lambda rows: rows * factor)

    @each_overlap_loss
    def test_scale_of_each_axis_where_the_card_says_any_frame(self, name):
        def stretch(rows: Tensor) -> Tensor:
            return rows * torch.tensor((3.0, 0.2) * 2, dtype=torch.float64)

        if CATALOGUE[name].frame == "any":
            self.compare(name, stretch)
        else:
            pred, target = pair()
            change = function(name)(stretch(pred), stretch(target)) - function(name)(pred, target)
            assert change.abs().max() > 0.01

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
            self.compare(name, lambda rows: rows[:, [2, 3, 0, 1]].neg())
            return
        # Its intersection is counted from the low edge: what overlaps along both axes does not notice, and of the
        # others those apart along one axis alone.
        pred, target = pair()
        change = (function(name)(mirrored(pred), mirrored(target)) - function(name)(pred, target)).abs()
        touching = boxes.aligned_iou(pred, target) > 0
        assert change[touching].max() < 1e-12
        assert change[~touching].max() > 0.01

    @pytest.mark.parametrize("name", SYMMETRIC)
    def test_prediction_and_target_may_change_places(self, name):
        pred, target = (rows.requires_grad_() for rows in pair())
        value = function(name)(pred, target)
        to_pred, to_target = torch.autograd.grad(value.sum(), (pred, target))
        swapped = function(name)(target, pred)
        to_target_swapped, to_pred_swapped = torch.autograd.grad(swapped.sum(), (target, pred))
        torch.testing.assert_close(swapped, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(to_pred_swapped, to_pred, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(to_target_swapped, to_target, rtol=1e-9, atol=1e-12)
        assert (to_target != 0).any()
        # Moving both boxes by the same amount changes nothing, so the pulls on them are opposite.
        torch.testing.assert_close(
            (to_pred + to_target).view(-1, 2, 2).sum(1), torch.zeros(60, 2, dtype=torch.float64), rtol=0, atol=1e-9
        )

    @pytest.mark.parametrize("name", sorted(set(NAMES) - set(SYMMETRIC)))
    def test_or_may_not_as_the_card_says(self, name):
        pred, target = pair()
        assert (function(name)(pred, target) - function(name)(target, pred)).abs().max() > 0.1
        with pytest.raises(ConfigError, match=r"targets ask for a gradient, .* Pass targets.detach\(\)"):
            function(name)(pred, target.requires_grad_())
        with torch.no_grad():
            assert function(name)(pred, target).isfinite().all()  # nothing is lost here


class TestDerivatives:
    @each_loss
    def test_gradcheck(self, name):
        check, pred, target = differentiable(name)
        inputs = (pred.requires_grad_(), target.requires_grad_(CATALOGUE[name].symmetric))
        assert torch.autograd.gradcheck(check, inputs)

    @each_loss
    def test_gradgradcheck(self, name):
        check, pred, target = differentiable(name)
        assert torch.autograd.gradgradcheck(check, (pred.requires_grad_(), target))

    @pytest.mark.parametrize("alpha", [1, 1.3, 1.99, 2, 3])
    def test_of_alpha_iou_too_where_its_second_slope_would_be_infinite(self, alpha):
        # (alpha - 1) IoU^(alpha - 2) at IoU 0: of boxes apart, and of boxes that touch in an edge or a corner.
        apart = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4]], dtype=torch.float64)
        target = torch.tensor([[9.0, 9, 12, 12], [4, 0, 8, 4], [4, 4, 8, 8], [1, 2, 3, 5]], dtype=torch.float64)
        pred = apart.requires_grad_()
        loss = losses.alpha_iou_loss(pred, target, alpha=alpha)
        once = torch.autograd.grad(loss.sum(), pred, create_graph=True)[0]
        twice = torch.autograd.grad((once**2).sum(), pred)[0]
        assert once.isfinite().all()
        assert twice.isfinite().all()
        assert twice[3].any()  # the pair that overlaps has one
        near, near_target = (rows[(boxes.aligned_iou(*pair()) > 0.1)] for rows in pair())
        check = lambda p: losses.alpha_iou_loss(p, near_target, alpha=alpha)  # noqa: E731
        assert torch.autograd.gradgradcheck(check, near.requires_grad_())

    @each_overlap_loss
    def test_a_gradient_that_can_be_differentiated_is_the_same_one(self, name):
        pred, target = pair()
        pred.requires_grad_()
        once = torch.autograd.grad(function(name)(pred, target).sum(), pred)[0]
        twice = torch.autograd.grad(function(name)(pred, target).sum(), pred, create_graph=True)[0]
        torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-15)  # once by NumPy, then by torch
        assert twice.requires_grad

    @each_loss
    def test_what_stands_behind_the_loss_reaches_each_row(self, name):
        pred, target = pair(8)
        factor = torch.arange(8, dtype=torch.float64) - 3
        _, gradient = run(function(name), pred, target)
        _, weighted = run(lambda p, t: function(name)(p, t) * factor, pred, target)
        torch.testing.assert_close(weighted, gradient * factor.unsqueeze(1))


def differentiable(name: str) -> tuple[Callable[..., Tensor], Tensor, Tensor]:
    """A loss whose gradient is that of its value, and boxes off its kinks."""
    pred, target = random_boxes(10, seed=3), random_boxes(10, seed=4)
    if name == "smooth-iou":  # lambda is a constant to autograd but not to finite differences: hold it
        held = SmoothIoU(lam=0.4)
        return held.on_boxes, pred, target
    if name == "ciou":  # so is alpha: see test_oracles.py, which differentiates the formula
        return function("diou"), pred, target
    if name in ("balanced-l1", "huber", "smooth-l1", "mix"):  # bent within 1 of the target
        near = target + (pred - target) / 30
        assert ((near - target).abs() < 0.9).any()
        pred = torch.cat((pred[:5], near[5:]))
    return function(name), pred, target


class TestCallingConvention:
    """As in `torchvision.ops.generalized_box_iou_loss(boxes1, boxes2, reduction="none")`."""

    @each_loss
    def test_has_torchvisions_arguments(self, name):
        first = list(inspect.signature(function(name)).parameters.values())
        # The paper's function has the names of Algorithm 1.
        assert [p.name for p in first[:2]] == (["pred", "target"] if name == "smooth-iou" else ["boxes1", "boxes2"])
        assert inspect.signature(function(name)).parameters["reduction"].default == "none"
        assert function(name).__name__ in losses.__all__

    @each_loss
    def test_reductions(self, name):
        pred, target = pair(7)
        each = function(name)(pred, target)
        assert each.shape == (7,)
        assert torch.equal(function(name)(pred, target, reduction="none"), each)
        torch.testing.assert_close(function(name)(pred, target, reduction="sum"), each.sum())
        torch.testing.assert_close(function(name)(pred, target, reduction="mean"), each.mean())
        _, gradient = run(function(name), pred, target)
        _, of_mean = run(lambda p, t: function(name)(p, t, reduction="mean"), pred, target)
        torch.testing.assert_close(of_mean, gradient / 7)

    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    @each_loss
    def test_no_boxes_give_zero_with_a_graph(self, name, reduction):
        pred = torch.zeros(0, 4, requires_grad=True)
        value = function(name)(pred, torch.zeros(0, 4), reduction=reduction)
        assert value.shape == ((0,) if reduction == "none" else ())
        assert value.sum() == 0
        value.sum().backward()
        assert pred.grad is not None
        assert pred.grad.shape == (0, 4)

    @each_loss
    def test_leaves_its_inputs_alone(self, name):
        pred, target = pair(7)
        before = pred.clone(), target.clone()
        run(function(name), pred, target)
        function(name)(pred, target)
        assert torch.equal(pred, before[0])
        assert torch.equal(target, before[1])

    @each_loss
    def test_takes_views_and_transposed_boxes(self, name):
        pred, target = pair(12)
        value, gradient = run(function(name), pred, target)
        apart = pred.t().contiguous().t()
        assert not apart.is_contiguous()
        again, again_gradient = run(function(name), apart, torch.cat((target, target), 1)[:, :4])
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(again_gradient, gradient)

    @each_loss
    def test_many_boxes_are_computed_as_few_are(self, name):
        # On a CPU they are computed in pieces: no box may be lost or moved at the seams.
        pred, target = (rows.float() for rows in pair(20_011))
        value, gradient = run(alone(name), pred, target)
        for rows in (slice(0, 5), slice(8190, 8195), slice(16_382, 16_386), slice(20_008, 20_011)):
            few, few_gradient = run(alone(name), pred[rows], target[rows])
            torch.testing.assert_close(value[rows], few, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(gradient[rows], few_gradient, rtol=1e-4, atol=1e-5)


@each_loss
def test_is_one_graph_to_the_compiler(name):
    torch._dynamo.reset()
    pred, target = (rows.float() for rows in pair(9))
    compiled = torch.compile(function(name), fullgraph=True, backend="aot_eager")
    value, gradient = run(lambda p, t: compiled(p, t, reduction="mean"), pred, target)
    expected, expected_gradient = run(lambda p, t: function(name)(p, t, reduction="mean"), pred, target)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


class TestTheModule:
    """`LOSSES[name]().on_boxes` is the function; in a detector the module decodes deltas to the same boxes."""

    @each_loss
    def test_is_the_function_on_corners(self, name):
        pred, target = pair()
        value, gradient = run(function(name), pred, target)
        same, same_gradient = run(module(name).on_boxes, pred, target)
        torch.testing.assert_close(same, value)
        torch.testing.assert_close(same_gradient, gradient)

    @each_loss
    def test_takes_every_box_format(self, name):
        x1, y1, x2, y2 = random_boxes(30).unbind(1)
        u1, v1, u2, v2 = random_boxes(30, seed=1).unbind(1)
        rows = {
            "xyxy": ((x1, y1, x2, y2), (u1, v1, u2, v2)),
            "yxhw": ((y1, x1, y2 - y1, x2 - x1), (v1, u1, v2 - v1, u2 - u1)),
            "xywh": ((x1, y1, x2 - x1, y2 - y1), (u1, v1, u2 - u1, v2 - v1)),
            "cxcywh": (
                ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
                ((u1 + u2) / 2, (v1 + v2) / 2, u2 - u1, v2 - v1),
            ),
        }
        assert set(rows) == set(boxes.BOX_FORMATS)
        loss, codes = module(name), module("l1")
        corners = [torch.stack(row, 1) for row in rows["xyxy"]]
        for box_format, written in rows.items():
            pred, target = (torch.stack(row, 1) for row in written)
            value = loss.on_boxes(pred, target, box_format=box_format)
            if name in OVERLAP:
                torch.testing.assert_close(value, function(name)(*corners))
            elif name in OF_CODES:  # differences of the four numbers as they are
                assert torch.equal(value, loss(pred, target))
            elif name == "l1-giou":
                parts = 5 * codes(pred, target) + 2 * function("giou")(*corners)
                torch.testing.assert_close(value, parts)
            else:
                lam = loss.last_lambda
                parts = lam * function("iou")(*corners) + (1 - lam) * module("huber")(pred, target)
                torch.testing.assert_close(value, parts)

    @each_loss
    def test_says_which_format_was_meant(self, name):
        with pytest.raises(ConfigError, match=r"no format is called 'xyhw'\. Did you mean \"\w+\"\?"):
            module(name).on_boxes(*pair(2), box_format="xyhw")

    def anchored(self, count: int = 200) -> tuple[Tensor, Tensor, Tensor]:
        """Deltas, target deltas, and the anchors that they are relative to, no two of one shape."""
        anchors, found, target = (random_boxes(count, seed=seed) for seed in (5, 6, 7))
        return boxes.encode_boxes(found, anchors), boxes.encode_boxes(target, anchors), anchors

    def on_decoded(self, loss: Callable[..., Tensor], anchors: Tensor) -> Callable[..., Tensor]:
        return lambda *pair: loss(*(boxes.decode_deltas(deltas, anchors) for deltas in pair))

    @each_overlap_loss
    def test_on_deltas_it_is_the_loss_of_the_decoded_boxes(self, name):
        pred, target, anchors = self.anchored()
        value, gradient = run(lambda *pair: module(name)(*pair, anchors=anchors), pred, target)
        in_pixels, pixel_gradient = run(self.on_decoded(function(name), anchors), pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("name", [name for name in OVERLAP if CATALOGUE[name].frame == "pixels"])
    def test_in_the_frame_of_the_anchor_it_is_that_of_boxes_in_sides_of_the_anchor(self, name):
        pred, target, anchors = self.anchored()
        in_sides = function(name)(*(boxes.decode_unit(deltas) for deltas in (pred, target)))
        value = load_loss(name, frame="anchor")(pred, target, anchors=anchors)
        torch.testing.assert_close(value, in_sides, rtol=1e-9, atol=1e-9)
        assert (value - load_loss(name)(pred, target, anchors=anchors)).abs().max() > 0.01

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 5.0, 2.0, 1.0)])
    @each_overlap_loss
    def test_with_the_weights_that_the_deltas_were_multiplied_by(self, name, weights):
        anchors, found, target = (random_boxes(20, seed=seed) for seed in (5, 6, 7))
        deltas = (boxes.encode_boxes(rows, anchors, weights=weights) for rows in (found, target))
        value = module(name)(*deltas, anchors=anchors, weights=weights)
        torch.testing.assert_close(value, function(name)(found, target), rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("name", OF_CODES)
    def test_a_loss_of_codes_takes_any_four_numbers(self, name):
        pred, target, anchors = self.anchored()
        assert torch.equal(module(name).on_boxes(pred, target), module(name)(pred, target, anchors=anchors))

    @pytest.mark.parametrize("lam", ["batch", "box", 0.3])
    def test_smooth_iou_of_pixel_corners_is_algorithm_1(self, lam):
        pred, target, anchors = self.anchored()
        detector = SmoothIoU(huber_on="corners", lam=lam)
        value, gradient = run(lambda *pair: detector(*pair, anchors=anchors), pred, target)

        def algorithm_1(*pair: Tensor) -> Tensor:
            return smooth_iou_loss(*pair, lam=lam)

        in_pixels, pixel_gradient = run(self.on_decoded(algorithm_1, anchors), pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    def test_l1_giou_takes_giou_of_the_decoded_boxes(self):
        pred, target, anchors = self.anchored()
        loss = load_loss("l1-giou")
        in_sides = (pred - target).abs() / torch.tensor(boxes.DELTA_WEIGHTS, dtype=torch.float64)
        giou = self.on_decoded(function("giou"), anchors)(pred, target)
        torch.testing.assert_close(loss(pred, target, anchors=anchors), 5 * in_sides.sum(1) + 2 * giou)


OPTIONS = {
    ("huber", "delta"): [0, -1.0, math.nan, math.inf, "1", True],
    ("smooth-l1", "beta"): [0, -1.0, math.nan, None],
    ("balanced-l1", "alpha"): [0, -0.5, math.nan],
    ("balanced-l1", "gamma"): [0, math.inf],
    ("alpha-iou", "alpha"): [0, 0.5, math.nan, math.inf, "3"],
    ("bounded-iou", "beta"): [0, -1.0, math.nan],
    ("extended-iou", "smooth_point"): [0, -1.0, math.nan],
    ("ciou", "alpha"): ["AAAI", "", None],
    ("l1-giou", "l1_weight"): [0, -5.0, math.nan],
    ("l1-giou", "giou_weight"): [0, math.inf],
    ("mix", "delta"): [0, -1.0],
    ("mix", "lam"): [-0.1, 1.1, math.nan, "batch", True, None],
    ("smooth-iou", "delta"): [0, -1.0],
    ("smooth-iou", "lam"): [-0.1, 1.1, math.nan, "bach", "image", None],
}


class TestMistakes:
    @pytest.mark.parametrize(
        ("first", "second"),
        [((3, 4), (2, 4)), ((4,), (4,)), ((3, 5), (3, 5)), ((1, 3, 4), (1, 3, 4)), ((3, 4), (1, 4))],
    )
    @each_loss
    def test_shapes(self, name, first, second):
        self.both(name, torch.zeros(first), torch.zeros(second), r"one shape \(K, 4\), got \(")

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
    @each_loss
    def test_whole_numbers(self, name, dtype):
        whole, real = torch.zeros(2, 4, dtype=dtype), torch.zeros(2, 4)
        for given_pred, given_target in ((whole, real), (real, whole), (whole, whole)):
            self.both(
                name, given_pred, given_target, r"floating point numbers, got torch\.\w+ and torch\.\w+\. Convert"
            )

    def both(self, name: str, pred: Tensor, target: Tensor, message: str) -> None:
        for loss in (function(name), module(name).on_boxes):
            with pytest.raises(ValueError, match=message) as caught:
                loss(pred, target)
            one_sentence(caught.value)

    @pytest.mark.parametrize("wrong", ["avg", "Mean", "", None])
    @each_loss
    def test_reductions(self, name, wrong):
        with pytest.raises(ValueError, match="reduction: expected none, mean or sum, got") as caught:
            function(name)(*pair(2), reduction=wrong)
        one_sentence(caught.value)

    @pytest.mark.parametrize(
        ("name", "option", "wrong"), [(*which, value) for which, values in OPTIONS.items() for value in values]
    )
    def test_options(self, name, option, wrong):
        for make in (lambda **o: function(name)(*pair(2), **o), lambda **o: load_loss(name, **o)):
            if wrong == "image" and make.__code__.co_names[0] == "load_loss":
                continue  # detectors know images
            with pytest.raises(ValueError, match=f"^{option}: expected .*, got {wrong!r}") as caught:
                make(**{option: wrong})
            one_sentence(caught.value)

    def test_names(self):
        with pytest.raises(ValueError, match=r"No loss is called 'gious'\. Did you mean \"giou\"") as caught:
            load_loss("gious")
        one_sentence(caught.value)
        with pytest.raises(AttributeError, match="has no attribute 'gious_loss'"):
            losses.gious_loss  # noqa: B018


def one_sentence(error: ValueError) -> None:
    """What happened in one sentence; the way out, if there is one, stands apart from it."""
    assert isinstance(error, ConfigError)
    assert error.message.endswith(".")
    assert ". " not in error.message
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", sorted(name for name in LOSSES if CATALOGUE[name].space == "boxes"))
def test_torch_func_sees_the_same_loss_and_gradient(name):
    """`torch.func` has rules of its own for gradients written by hand."""
    generator = torch.Generator().manual_seed(5)
    target = torch.rand(6, 4, generator=generator, dtype=torch.float64) * 50
    target[:, 2:] += target[:, :2] + 5
    pred = target + torch.randn(6, 4, generator=generator, dtype=torch.float64) * 4
    loss = LOSSES[name]()
    leaf = pred.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss.on_boxes(leaf, target).sum(), leaf)
    torch.testing.assert_close(torch.func.grad(lambda rows: loss.on_boxes(rows, target).sum())(pred), expected)
    each = torch.func.vmap(lambda row, own: loss.on_boxes(row[None], own[None])[0])(pred, target)
    torch.testing.assert_close(each, loss.on_boxes(pred, target))
    jacobian = torch.func.jacrev(lambda rows: loss.on_boxes(rows, target))(pred)
    torch.testing.assert_close(jacobian.sum(0), expected)
