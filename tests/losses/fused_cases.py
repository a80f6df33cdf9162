"""What the kernels must keep; run by `test_fused.py` in a process of its own, under Triton's interpreter or on a GPU.

Named so that a common run of the tests does not collect it: the interpreter must be chosen before Triton is imported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smoothiou import losses
from smoothiou.boxes import encode_boxes, fused
from smoothiou.losses import LOSSES, SmoothIoU, smooth_iou_loss
from smoothiou.losses.catalogue import CATALOGUE
from tests.losses import on_kernels as on_kernels  # makes the interpreter bearable
from tests.losses import test_on_boxes

DEVICE = "cpu" if fused.INTERPRETED else "cuda"
FAMILY = ["iou", "giou", "diou", "ciou", "efficient-iou"]
SHAPES, EXTREMES = test_on_boxes.TestEveryFiniteBox.SHAPES, test_on_boxes.TestEveryFiniteBox.EXTREMES

Loss = Callable[..., Tensor]

# The interpreter computes in NumPy, which warns of what a GPU does silently.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def on_boxes(name: str) -> Loss:
    if name == "ciou-tcyb":
        return lambda p, t: losses.ciou_loss(p, t, alpha="tcyb")
    if name.startswith("smooth"):
        lam = {"smooth": "batch", "smooth-box": "box", "smooth-fixed": 0.3}[name]
        return lambda p, t: smooth_iou_loss(p, t, lam=lam)
    return getattr(losses, name.replace("-", "_") + "_loss")


def on_deltas(name: str) -> Loss:
    if name == "ciou-tcyb":
        return LOSSES["ciou"](alpha="tcyb")
    if name.startswith("smooth"):
        return SmoothIoU(lam={"smooth": "batch", "smooth-box": "box", "smooth-fixed": 0.3}[name], iou_weight=2.5)
    return LOSSES[name]()


ALL = [*FAMILY, "ciou-tcyb", "smooth", "smooth-box", "smooth-fixed"]
every = pytest.mark.parametrize("name", ALL)
each = pytest.mark.parametrize("name", ["giou", "ciou", "efficient-iou", "smooth", "smooth-box"])


def run(loss: Loss, pred: Tensor, target: Tensor, **more: Tensor) -> tuple[Tensor, Tensor]:
    pred = pred.detach().to(DEVICE).requires_grad_()
    value = loss(pred, target.to(DEVICE), **{key: rows.to(DEVICE) for key, rows in more.items()})
    assert "Fused" in str(value.grad_fn) or "Overlap" in str(value.grad_fn) or pred.dtype == torch.float64
    value.sum().backward()
    assert pred.grad is not None
    return value.detach().cpu(), pred.grad.cpu()


def pair(count: int = 515, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes of 5 to 45, some apart, some overlapping, the first one right; more than two programs of a kernel."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, count, 2, generator=generator) * 50
    pred, target = torch.cat((corners, corners + 5 + torch.rand(2, count, 2, generator=generator) * 40), 2)
    pred[0] = target[0]
    return pred, target


def near(value: Tensor, exact: Tensor) -> None:
    """Within 1e-6 of float64: of the value, of the row's gradient (or, where both nearly vanish, of a common one)."""
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-6)


def near_gradient(gradient: Tensor, exact: Tensor, *, tolerance: float = 1e-6) -> None:
    length = exact.norm(dim=1)
    wrong = (gradient.double() - exact).norm(dim=1) / (length + 1e-2 * length.mean())
    assert wrong.max() < tolerance
    assert (length > 0).sum() > 100


@every
def test_boxes_are_within_a_millionth_of_float64(name):
    pred, target = pair()
    value, gradient = run(on_boxes(name), pred, target)
    assert value.dtype == torch.float32
    exact, exact_gradient = run(on_boxes(name), pred.double(), target.double())
    near(value, exact)
    near_gradient(gradient, exact_gradient)


@every
def test_deltas_and_anchors_are_too(name):
    anchors, target = pair(seed=1)
    pred = target + torch.rand(target.shape, generator=torch.Generator().manual_seed(2)) * 4
    pred[:, 2:] += 4
    codes, target_codes = encode_boxes(pred, anchors), encode_boxes(target, anchors)
    value, gradient = run(on_deltas(name), codes, target_codes, anchors=anchors)
    exact, exact_gradient = run(on_deltas(name), codes.double(), target_codes.double(), anchors=anchors.double())
    near(value, exact)
    near_gradient(gradient, exact_gradient, tolerance=2e-6)  # exp() of a side rounds once more


@each
def test_every_finite_box_has_a_finite_value_in_its_range_and_a_finite_gradient(name):
    picks = torch.randint(len(EXTREMES), (2, 280, 4), generator=torch.Generator().manual_seed(0))
    rows = torch.tensor(SHAPES)
    pred = torch.cat((torch.tensor(EXTREMES)[picks[0]], rows.repeat(len(rows), 1)))
    target = torch.cat((torch.tensor(EXTREMES)[picks[1]], rows.repeat_interleave(len(rows), 0)))
    value, gradient = run(on_boxes(name), pred, target)
    low, high = CATALOGUE["smooth-iou" if name.startswith("smooth") else name.removesuffix("-tcyb")].bounds
    assert value.isfinite().all()
    assert (value >= low).all()
    assert (value <= high).all()
    assert gradient.isfinite().all()


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_boxes_have_loss_and_gradient_zero(name, dtype):
    # Also 480 of any size, where one wrong rounding would show.
    same = torch.cat((torch.tensor(SHAPES), torch.randn(480, 4, generator=torch.Generator().manual_seed(0)) * 70))
    same = same.to(dtype).clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    for loss in (on_boxes(name), on_deltas(name)):
        value, gradient = run(loss, same, same.clone())
        assert torch.equal(value, torch.zeros_like(value))
        assert torch.equal(gradient, torch.zeros_like(gradient))


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_its_gradient_stays_a_number(name, dtype):
    limits = torch.finfo(dtype)
    sides = [0, limits.smallest_normal, 1e-4, 1.3e-4, 1, -1, 600, limits.max, -limits.max]
    pred, target = torch.tensor(sides, dtype=dtype)[
        torch.randint(len(sides), (2, 500, 4), generator=torch.Generator().manual_seed(0))
    ]
    value, gradient = run(on_boxes(name), pred, target)
    expected, wide = run(on_boxes(name), pred.float(), target.float())
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(value, expected)
    assert gradient.isfinite().all()
    calm = (wide.abs() < limits.max / 8).all(1) if not name.startswith("smooth") else wide.abs().sum(1) < 100
    torch.testing.assert_close(gradient[calm], wide[calm].to(dtype))


@pytest.mark.parametrize("name", ["ciou", "smooth", "smooth-box"])
def test_nan_stays_in_its_row_but_for_a_common_lambda(name):
    for of_pred in (True, False):
        pred, target = pair(9)
        (pred if of_pred else target)[4, 1] = math.nan
        value, _ = run(on_boxes(name), pred, target)
        assert value.isnan().tolist() == [k == 4 or name == "smooth" for k in range(9)]


@pytest.mark.parametrize("name", ["ciou", "smooth"])
def test_an_infinite_prediction_stays_visible(name):
    pred, target = pair(3)
    pred[1, 2] = math.inf
    assert not run(on_boxes(name), pred, target)[0][1].isfinite()


@pytest.mark.parametrize("name", ["ciou", "smooth"])
def test_targets_second_derivatives_views_and_what_stands_behind(name):
    pred, target = (rows[1:40] for rows in pair())
    found = []
    for dtype in (torch.float32, torch.float64):
        p, t = (rows.to(DEVICE, dtype).requires_grad_() for rows in (pred, target))
        factor = torch.arange(39, device=DEVICE, dtype=dtype) - 7
        value = on_boxes(name)(p.t().contiguous().t(), t) * factor
        once = torch.autograd.grad(value.sum(), (p, t), create_graph=True)
        again = on_boxes(name)(p, t) * factor
        plain = torch.autograd.grad(again.sum(), (p, t))
        second = torch.autograd.grad((once[0] ** 2).sum(), p)
        found.append([tensor.detach().double().cpu() for tensor in (value, *once, *plain, *second)])
    for ours, exact in zip(*found, strict=True):
        assert ((ours - exact).norm() / exact.norm()).item() < 1e-5
        assert exact.norm() > 0


@pytest.mark.parametrize("name", ["ciou", "smooth", "smooth-box"])
def test_gradients_of_many_losses_at_once_and_of_every_second_one(name):
    pred, target = (rows[1:8].to(DEVICE) for rows in pair())
    loss = on_boxes(name)
    one_by_one, at_once = (
        torch.autograd.functional.jacobian(lambda rows: loss(rows, target), pred, vectorize=way)
        for way in (False, True)
    )
    torch.testing.assert_close(at_once, one_by_one, rtol=1e-5, atol=1e-6)
    pred = pred.detach().requires_grad_()
    value, each = loss(pred, target), torch.eye(7, device=DEVICE)
    rows = torch.func.vmap(lambda outer: torch.autograd.grad(value, pred, outer, retain_graph=True)[0])(each)
    torch.testing.assert_close(rows, one_by_one, rtol=1e-5, atol=1e-6)
    pred = pred.detach().requires_grad_()
    outer = torch.rand(14, device=DEVICE)[::2]
    loss(pred, target).backward(outer)
    torch.testing.assert_close(pred.grad, torch.einsum("kkc,k->kc", one_by_one, outer), rtol=1e-5, atol=1e-6)


class Count(TorchDispatchMode):
    """Operations of torch that compute something: all but views and memory without values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if not func.is_view and name not in ("empty", "empty_like", "new_empty", "detach", "split_with_sizes"):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not fused.INTERPRETED, reason="on a GPU the profiler counts")
@pytest.mark.parametrize(("name", "launches"), [("giou", 2), ("ciou", 2), ("smooth", 3)])
def test_at_most_four_launches(name, launches, monkeypatch):
    from triton.runtime import interpreter

    pred, target = pair()
    pred.requires_grad_()
    started = []
    call = interpreter.GridExecutor.__call__
    monkeypatch.setattr(
        interpreter.GridExecutor,
        "__call__",
        lambda self, *a, **k: (started.append(self.fn.__name__), call(self, *a, **k))[1],
    )
    ones = torch.ones(len(pred))
    loss = on_boxes(name)
    assert fused.serves("iou", pred, target)  # whether kernels start is tried before the first
    started.clear()
    with Count() as count:
        loss(pred, target).backward(ones)
    inside = {"copy_", "set_", "_to_copy", "clone"}  # what the interpreter itself does
    assert len(started) == launches
    assert set(count.seen) <= inside, count.seen


@pytest.mark.skipif(fused.INTERPRETED, reason="needs a GPU")
@each
def test_at_most_four_launches_by_the_profiler(name):
    from torch.profiler import ProfilerActivity, profile

    pred, target = (rows.cuda() for rows in pair())
    pred.requires_grad_()
    ones = torch.ones(len(pred), device="cuda")
    loss = on_boxes(name)
    loss(pred, target).backward(ones)
    pred.grad = None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        loss(pred, target).backward(ones)
        torch.cuda.synchronize()
    kernels = [event.name for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert 0 < len([word for word in kernels if "sync" not in word.lower()]) <= (4 if name != "smooth-fixed" else 5)


def test_the_switch_and_what_there_is_no_kernel_for():
    pred, target = (rows.to(DEVICE) for rows in pair(5))
    assert fused.serves("iou", pred, target)
    assert not fused.serves(None, pred, target)
    assert not fused.serves("iou", pred.double(), target)
    assert not fused.serves("iou", pred[:0], target[:0])
    os.environ[fused.SWITCH] = "0"
    try:
        assert not fused.serves("iou", pred, target)
    finally:
        del os.environ[fused.SWITCH]
    torch.func.grad(lambda rows: losses.iou_loss(rows, target).sum())(pred)  # falls back
