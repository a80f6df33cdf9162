"""What every loss of `LOSSES` keeps, on a detector's deltas and on boxes; a new loss is covered by having a name."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smoothiou import boxes, losses
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, load_loss, smooth_iou_loss
from tests.losses.cases import (
    EXTREME_COORDINATES,
    EXTREME_DELTAS,
    EXTREME_SHAPES,
    INFO,
    NAMES,
    OF_DELTAS,
    OVERLAP,
    SYMMETRIC,
    box_pair,
    check_contract,
    deltas,
    function,
    of_each_box,
    random_boxes,
    run,
    some_anchors,
)  # fmt: skip

each_loss = pytest.mark.parametrize("name", NAMES)
each_overlap_loss = pytest.mark.parametrize("name", OVERLAP)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@each_loss
def test_has_a_description_without_parameters_or_state(name):
    loss = LOSSES[name]()
    assert loss.info.name == name
    assert len(loss.info.summary) < 100
    assert inspect.getdoc(loss)
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    rows = deltas(7)
    value, gradient = run(loss, **rows)
    assert value.shape == (7,)
    assert (gradient != 0).any(1).all()
    assert torch.equal(run(pickle.loads(pickle.dumps(loss)), **rows)[0], value)
    assert torch.equal(run(load_loss(name), **rows)[0], value)


class TestEveryFiniteInput:
    """Value in the documented range and a finite gradient."""

    @given(numbers=st.lists(finite, min_size=24, max_size=24))
    @settings(max_examples=20, deadline=None)
    @each_loss
    def test_boxes_of_any_numbers(self, name, numbers):
        check_contract(name, function(name), *torch.tensor(numbers).view(2, 3, 4))

    @given(
        corner=st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 2), sides=st.tuples(*[st.floats(-50, 50, width=32)] * 6)
    )
    @settings(max_examples=20, deadline=None)
    @each_loss
    def test_boxes_of_any_numbers_near_each_other(self, name, corner, sides):
        x, y = corner
        width, height, right, up, wider, higher = sides
        pred = torch.tensor([[x, y, x + width, y + height]])
        check_contract(name, function(name), pred, pred + torch.tensor([[right, up, right + wider, up + higher]]))

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_boxes_of_extremes(self, name, dtype):
        picks = torch.randint(len(EXTREME_COORDINATES), (2, 8000, 4), generator=torch.Generator().manual_seed(0))
        check_contract(name, function(name), *torch.tensor(EXTREME_COORDINATES, dtype=dtype)[picks])

    @each_loss
    def test_every_shape_beside_every_shape(self, name):
        rows = torch.tensor(EXTREME_SHAPES)
        check_contract(name, function(name), rows.repeat(len(rows), 1), rows.repeat_interleave(len(rows), 0))

    @given(numbers=st.lists(finite, min_size=16, max_size=16))
    @settings(max_examples=20, deadline=None)
    @each_loss
    def test_any_deltas(self, name, numbers):
        check_contract(name, LOSSES[name](), *torch.tensor(numbers).view(2, 2, 4), anchors=some_anchors(2))

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_deltas_of_extremes(self, name, dtype):
        picks = torch.randint(len(EXTREME_DELTAS), (2, 8000, 4), generator=torch.Generator().manual_seed(0))
        anchors = some_anchors(8000).to(dtype)
        check_contract(name, LOSSES[name](), *torch.tensor(EXTREME_DELTAS, dtype=dtype)[picks], anchors=anchors)

    @pytest.mark.slow
    @each_loss
    def test_a_million_pairs_of_six_kinds(self, name):
        generator = torch.Generator().manual_seed(1)
        for scale in (1e-30, 1e-6, 1.0, 1e3, 1e20, 1e38):
            pred, target = (torch.randn(2, 150_000, 4, generator=generator) * scale).clamp(-3e38, 3e38)
            check_contract(name, function(name), pred, target)

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(self, name, dtype):
        pred, target = (rows.to(dtype) for rows in box_pair())
        value, gradient = run(function(name), pred, target)
        exact, exact_gradient = run(function(name), pred.float(), target.float())
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        assert torch.equal(value, exact)
        torch.testing.assert_close(gradient, exact_gradient.to(dtype))
        largest = torch.finfo(dtype).max
        extremes = torch.tensor([[largest, -largest, largest, -largest], [-largest, 0, -largest, largest]], dtype=dtype)
        check_contract(name, LOSSES[name](), extremes, -extremes, anchors=some_anchors(2))


class TestEqualBoxes:
    def check(self, name: str, same: Tensor) -> None:
        for loss, arguments in ((function(name), {}), (LOSSES[name](), {"anchors": some_anchors(len(same))})):
            value, gradient = run(loss, same, same.clone(), **arguments)
            assert torch.equal(value, torch.zeros_like(value))
            assert torch.equal(gradient, torch.zeros_like(gradient))

    @given(numbers=st.lists(finite, min_size=16, max_size=16))
    @settings(max_examples=20, deadline=None)
    @each_loss
    def test_have_loss_and_gradient_zero_exactly(self, name, numbers):
        self.check(name, torch.tensor(numbers).view(4, 4))

    @each_loss
    def test_also_without_area_inverted_tiny_or_huge(self, name):
        self.check(name, torch.tensor(EXTREME_SHAPES))

    @each_loss
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_also_in_other_precisions(self, name, dtype):
        self.check(name, (random_boxes(300) - 20).to(dtype))

    @pytest.mark.parametrize("name", SYMMETRIC)
    def test_have_no_gradient_to_the_target_either(self, name):
        same = torch.tensor(EXTREME_SHAPES)
        _, gradient = run(lambda target, pred: function(name)(pred, target), same, same.clone())
        assert torch.equal(gradient, torch.zeros_like(gradient))

    @each_loss
    def test_keep_still_whatever_is_behind_the_loss(self, name):
        same = random_boxes(300).float()
        _, gradient = run(lambda p, t: function(name)(p, t) / 7, same, same.clone())
        _, moved = run(lambda p, t: function(name)(p, t) / 7, same + torch.tensor([1.0, 0, 0, 0]), same)
        # A factor that is no power of two leaves a rounding where axes mix.
        assert gradient.abs().max() <= 1e-6 * moved.abs().max()


class TestNoNumber:
    @pytest.mark.parametrize("of", ["prediction", "target"])
    @each_loss
    def test_nan_gives_nan_for_its_row_and_no_other(self, name, of):
        for coordinate in range(4):
            pred, target = (rows.float() for rows in box_pair(9))
            (pred if of == "prediction" else target)[4, coordinate] = math.nan
            value, _ = run(of_each_box(name), pred, target)
            assert value.isnan().tolist() == [k == 4 for k in range(9)]
            assert function(name)(pred, target, reduction="mean").isnan()

    @each_loss
    def test_nan_beside_equal_and_flat_boxes_is_nan_too(self, name):
        rows = torch.tensor(EXTREME_SHAPES)
        for coordinate in range(4):
            broken = rows.clone()
            broken[:, coordinate] = math.nan
            for pred, target in ((broken, rows), (rows, broken), (broken, broken)):
                assert of_each_box(name)(pred, target).isnan().all()

    def test_the_papers_lambda_hands_nan_to_every_row(self):
        # It is the mean IoU of all boxes: a model that gives one NaN gets no number to train on.
        pred, target = box_pair(5)
        pred[2, 1] = math.nan
        assert smooth_iou_loss(pred, target).isnan().all()

    @pytest.mark.parametrize(("coordinate", "broken"), [(0, -math.inf), (1, -math.inf), (2, math.inf), (3, math.inf)])
    @each_loss
    def test_an_infinite_prediction_stays_visible(self, name, coordinate, broken):
        pred, target = (rows.float() for rows in box_pair(3))
        pred[1, coordinate] = broken
        assert of_each_box(name)(pred, target).isfinite().tolist() == [True, False, True]
        delta = torch.tensor([[broken, 0.0, 0.0, 0.0]])
        assert not LOSSES[name]()(delta, torch.zeros(1, 4), anchors=some_anchors(1)).isfinite().all()


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


class Operations(TorchDispatchMode):
    """Record every operation; fail on those that wait for the device or whose size depends on data."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item", "unique", "_to_copy", "index")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        operation = func.overloadpacket.__name__
        assert not operation.startswith(self.WAITING), f"{operation} waits for the device"
        return func(*args, **(kwargs or {}))


@each_loss
def test_nothing_waits_for_the_device(name):
    rows = deltas(9, dtype=torch.float32)
    pred = rows["pred"].requires_grad_()
    with Operations():
        LOSSES[name]()(pred, rows["target"], anchors=rows["anchors"]).sum().backward()
    with pytest.raises(AssertionError, match="waits"), Operations():
        pred[pred > 0]


class TestTheModule:
    """`LOSSES[name]().on_boxes` is the function; in a detector the module decodes deltas to the same boxes."""

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
        loss, l1 = load_loss(name), load_loss("l1")
        corners = [torch.stack(row, 1) for row in rows["xyxy"]]
        torch.testing.assert_close(loss.on_boxes(*corners), function(name)(*corners))
        for box_format, columns in rows.items():
            pred, target = (torch.stack(row, 1) for row in columns)
            value = loss.on_boxes(pred, target, box_format=box_format)
            if name in OVERLAP:
                torch.testing.assert_close(value, function(name)(*corners))
            elif name in OF_DELTAS:  # differences of the four numbers as they are
                assert torch.equal(value, loss(pred, target))
            elif name == "l1-giou":
                torch.testing.assert_close(value, 5 * l1(pred, target) + 2 * function("giou")(*corners))
            else:
                lam = loss.last_lambda
                parts = lam * function("iou")(*corners) + (1 - lam) * load_loss("huber")(pred, target)
                torch.testing.assert_close(value, parts)
        with pytest.raises(ConfigError, match="xyhw"):
            loss.on_boxes(pred, target, box_format="xyhw")

    def anchored(self) -> tuple[Tensor, Tensor, Tensor]:
        """Deltas, target deltas, and the anchors that they are relative to, no two of one shape."""
        anchors, pred, target = (random_boxes(200, seed=seed) for seed in (5, 6, 7))
        return boxes.encode_boxes(pred, anchors), boxes.encode_boxes(target, anchors), anchors

    def on_decoded(self, loss: Callable[..., Tensor], anchors: Tensor) -> Callable[..., Tensor]:
        return lambda *pair: loss(*(boxes.decode_deltas(rows, anchors) for rows in pair))

    @each_overlap_loss
    def test_on_deltas_it_is_the_loss_of_the_decoded_boxes(self, name):
        pred, target, anchors = self.anchored()
        value, gradient = run(LOSSES[name](), pred, target, anchors=anchors)
        in_pixels, pixel_gradient = run(self.on_decoded(function(name), anchors), pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 5.0, 2.0, 1.0)])
    @each_overlap_loss
    def test_with_the_weights_that_the_deltas_were_multiplied_by(self, name, weights):
        anchors, pred, target = (random_boxes(20, seed=seed) for seed in (5, 6, 7))
        encoded = (boxes.encode_boxes(rows, anchors, weights=weights) for rows in (pred, target))
        value = LOSSES[name]()(*encoded, anchors=anchors, weights=weights)
        torch.testing.assert_close(value, function(name)(pred, target), rtol=1e-9, atol=1e-9)

    @each_loss
    def test_depends_on_the_anchors_as_described(self, name):
        rows = deltas(200)
        other = rows["anchors"].clone()
        other[:, 2] += 100
        value, with_others = (LOSSES[name]()(rows["pred"], rows["target"], anchors=a) for a in (rows["anchors"], other))
        assert torch.equal(value, with_others) == (INFO[name].frame == "any")
        if INFO[name].frame == "size":
            with pytest.raises(ConfigError, match="anchors"):
                LOSSES[name]()(rows["pred"], rows["target"])
            return
        square = torch.tensor([[0.0, 0.0, 7.0, 7.0]]).repeat(200, 1)
        without = LOSSES[name]()(rows["pred"], rows["target"])
        assert torch.equal(without, LOSSES[name]()(rows["pred"], rows["target"], anchors=square))
        if INFO[name].frame == "pixels":
            in_sides = function(name)(*(boxes.decode_unit(rows[key]) for key in ("pred", "target")))
            of_anchor = load_loss(name, frame="anchor")(rows["pred"], rows["target"], anchors=other)
            torch.testing.assert_close(of_anchor, in_sides, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("lam", ["batch", "box", 0.3])
    def test_smooth_iou_of_pixel_corners_is_algorithm_1(self, lam):
        pred, target, anchors = self.anchored()
        value, gradient = run(SmoothIoU(huber_on="corners", lam=lam), pred, target, anchors=anchors)
        algorithm_1 = self.on_decoded(lambda *pair: smooth_iou_loss(*pair, lam=lam), anchors)
        in_pixels, pixel_gradient = run(algorithm_1, pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    def test_l1_giou_measures_deltas_before_their_weights(self):
        pred, target, anchors = self.anchored()
        in_sides = (pred - target).abs() / torch.tensor(boxes.DELTA_WEIGHTS, dtype=torch.float64)
        giou = self.on_decoded(function("giou"), anchors)(pred, target)
        torch.testing.assert_close(load_loss("l1-giou")(pred, target), 5 * in_sides.sum(1) + 2 * giou)


OPTIONS = {
    ("huber", "delta"): [0, -1.0, math.nan, math.inf, "1", True],
    ("smooth-l1", "beta"): [0, -1.0, math.nan, None],
    ("balanced-l1", "alpha"): [0, -0.5, math.nan],
    ("balanced-l1", "gamma"): [0, math.inf],
    ("alpha-iou", "alpha"): [0, 0.5, math.nan, math.inf, "3"],
    ("bounded-iou", "beta"): [0, -1.0, math.nan],
    ("extended-iou", "smooth_point"): [0, -1.0, math.nan],
    ("ciou", "alpha"): ["AAAI", "", None],
    ("efficient-iou", "gamma"): [-0.5, math.nan, math.inf, "1"],
    ("powerful-iou", "version"): [0, 3, True, None],
    ("powerful-iou", "hyper"): [0, -1.0, math.nan],
    ("shape-iou", "scale"): [-1.0, math.nan, math.inf],
    ("mpdiou", "side"): [0, -640, math.nan],
    ("interp-iou", "alpha"): [0, 1, 1.5, math.nan, "static"],
    ("inner-iou", "ratio"): [0, -1.0, math.inf],
    ("inner-iou", "of"): ["huber", "", None],
    ("focaler-iou", "low"): [-0.1, 1.1, math.nan],
    ("focaler-iou", "high"): [-0.1, 1.1, 0],
    ("focaler-iou", "of"): ["l1"],
    ("nwd", "constant"): [0, -12.8, math.nan],
    ("l1-giou", "l1_weight"): [0, -5.0, math.nan],
    ("l1-giou", "giou_weight"): [0, math.inf],
    ("mix", "delta"): [0, -1.0],
    ("mix", "lam"): [-0.1, 1.1, math.nan, "batch", True, None],
    ("smooth-iou", "delta"): [0, -1.0],
    ("smooth-iou", "lam"): [-0.1, 1.1, math.nan, "bach", None],
}


class TestMistakes:
    """Each is named, with what was expected and what was given."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [((3, 4), (2, 4)), ((4,), (4,)), ((3, 5), (3, 5)), ((1, 3, 4), (1, 3, 4)), ((3, 4), (1, 4))],
    )
    @each_loss
    def test_shapes(self, name, first, second):
        self.refused(name, torch.zeros(first), torch.zeros(second), "shape")

    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
    @each_loss
    def test_whole_numbers(self, name, dtype):
        whole, real = torch.zeros(2, 4, dtype=dtype), torch.zeros(2, 4)
        for pred, target in ((whole, real), (real, whole), (whole, whole)):
            self.refused(name, pred, target, r"boxes\.float")

    def refused(self, name: str, pred: Tensor, target: Tensor, noun: str) -> None:
        for loss in (function(name), LOSSES[name]().on_boxes, LOSSES[name]()):
            with pytest.raises(ConfigError, match=noun):
                loss(pred, target)

    @pytest.mark.parametrize("name", [name for name in OVERLAP if INFO[name].frame != "any"])
    def test_anchors(self, name):
        with pytest.raises(ConfigError, match="anchors"):
            LOSSES[name]()(torch.zeros(3, 4), torch.zeros(3, 4), anchors=torch.zeros(2, 4))

    @pytest.mark.parametrize("wrong", ["avg", "Mean", "", None])
    @each_loss
    def test_reductions(self, name, wrong):
        with pytest.raises(ConfigError, match="reduction"):
            function(name)(*box_pair(2), reduction=wrong)

    @pytest.mark.parametrize(
        ("name", "option", "wrong"), [(*which, value) for which, values in OPTIONS.items() for value in values]
    )
    def test_options(self, name, option, wrong):
        for make in (lambda **o: function(name)(*box_pair(2), **o), lambda **o: load_loss(name, **o)):
            with pytest.raises(ConfigError, match=f"^{option}: .*{wrong!r}"):
                make(**{option: wrong})


@pytest.mark.gpu
@each_loss
def test_cuda_agrees_with_the_cpu_without_waiting(name):
    rows = deltas(100, dtype=torch.float32)
    expected, expected_gradient = run(LOSSES[name](), **rows)
    on_device = {key: value.cuda() for key, value in rows.items()}
    run(LOSSES[name](), **on_device)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        value, gradient = run(LOSSES[name](), **on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.cpu(), expected_gradient, rtol=1e-4, atol=1e-5)
