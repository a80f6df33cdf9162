"""Boxes, deltas and calls that the tests of the losses share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from smoothiou import boxes, losses
from smoothiou.losses import LOSSES, smooth_iou_loss

NAMES = sorted(LOSSES)
INFO = {name: LOSSES[name].info for name in NAMES}
OVERLAP = [name for name in NAMES if INFO[name].space == "boxes"]
OF_DELTAS = [name for name in NAMES if INFO[name].space == "deltas"]
SYMMETRIC = [name for name in NAMES if INFO[name].symmetric]

each_loss = pytest.mark.parametrize("name", NAMES)
each_overlap_loss = pytest.mark.parametrize("name", OVERLAP)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)

EXTREME_COORDINATES = (
    0.0, 1e-45, 1e-38, 1e-30, 1e-20, 1e-6, 1.0, 1 + 2**-23, 9.0, -9.0, 640.0, 1e10, 1e30, -1e30, 3e38, -3e38,
)  # fmt: skip
EXTREME_DELTAS = (0.0, 1e-45, 1e-38, 1e-20, 1.0, 1 + 2**-23, 20.0, -20.0, 700.0, -700.0, 1e10, 1e30, -1e30, 3e38, -3e38)
EXTREME_SHAPES = (
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


def function(name: str) -> Callable[..., Tensor]:
    """The loss of boxes, with torchvision's calling convention."""
    return getattr(losses, name.replace("-", "_") + "_loss")


def of_each_box(name: str) -> Callable[..., Tensor]:
    """The same, with lambda of each box: then no row depends on another one."""
    if name == "smooth-iou":
        return lambda *pair, **options: smooth_iou_loss(*pair, lam="box", **options)
    return function(name)


def run(loss: Callable[..., Tensor], pred: Tensor, target: Tensor, **arguments) -> tuple[Tensor, Tensor]:
    """Return (loss (K,), gradient of its sum to the predictions)."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, **arguments)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_boxes(count: int, *, seed: int = 0) -> Tensor:
    """Boxes with sides of 5 to 45, near enough to meet and far enough to miss each other."""
    corner = random(count, 2, seed=seed) * 50
    return torch.cat((corner, corner + 5 + random(count, 2, seed=seed + 1000) * 40), 1)


def random_pair(count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return target + 2 * torch.randn(count, 4, generator=generator, dtype=torch.float64), target


def box_pair(count: int = 60) -> tuple[Tensor, Tensor]:
    """Predicted and target boxes, some of which overlap."""
    pred, target = random_boxes(max(count, 60), seed=0), random_boxes(max(count, 60), seed=1)
    overlap = boxes.aligned_iou(pred, target)
    assert (overlap == 0).any()
    assert (overlap > 0.3).any()
    return pred[:count].clone(), target[:count].clone()


def deltas(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Deltas as a detector meets them: anchors in pixels, targets near them, predictions near those."""
    corner = random(count, 2, seed=seed) * 300
    anchors = torch.cat((corner, corner + 20 + random(count, 2, seed=seed + 1000) * 100), 1)
    target = (random(count, 4, seed=seed + 2000) - 0.5) * 4
    pred = target + (random(count, 4, seed=seed + 3000) - 0.5) * 6
    return {"pred": pred.to(dtype), "target": target.to(dtype), "anchors": anchors.to(dtype)}


def some_anchors(count: int) -> Tensor:
    return torch.tensor([[10.0, 20.0, 60.0, 100.0]]).expand(count, 4)


def check_contract(name: str, loss: Callable[..., Tensor], pred: Tensor, target: Tensor, **arguments) -> None:
    """Value in the documented range and a finite gradient, whichever of the two is the prediction."""
    low, high = INFO[name].bounds
    for first, second in ((pred, target), (target, pred)):
        value, gradient = run(loss, first, second, **arguments)
        right = value.isfinite() & (value >= low) & (value <= high) & gradient.isfinite().all(1)
        # The first box that breaks a promise is what one wants to read.
        wrong = [(first[k].tolist(), second[k].tolist(), value[k].item(), gradient[k]) for k in (~right).nonzero()]
        assert wrong[:1] == []
