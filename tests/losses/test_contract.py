"""What every loss of `LOSSES` keeps, on a detector's deltas and on boxes; a new loss is covered by having a name."""

from __future__ import annotations

import inspect
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smoothiou.losses import LOSSES, load_loss, smooth_iou_loss
from tests.losses.cases import (
    EXTREME_COORDINATES,
    EXTREME_DELTAS,
    EXTREME_SHAPES,
    SYMMETRIC,
    box_pair,
    check_contract,
    deltas,
    each_loss,
    finite,
    function,
    of_each_box,
    random_boxes,
    run,
    some_anchors,
)


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
