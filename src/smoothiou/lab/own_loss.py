"""A loss of one's own, tried on boxes at which losses go wrong, before a training finds out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS
from smoothiou.detectors.box_loss import try_loss
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.lab.pairs import value_and_gradient
from smoothiou.losses import from_spec

TARGET = (0.2, -0.1, 0.3, 0.1)
"""Deltas of the box that is to be learnt, relative to an anchor of 32 x 32 pixels."""
PREDICTED = {
    "equal": TARGET,
    "near": (0.5, 0.2, 0.1, -0.2),
    "inside": (0.2, -0.1, -3.0, -3.0),
    "disjoint": (20.0, 15.0, 0.0, 0.0),
    "far": (2000.0, -2000.0, 0.0, 0.0),
    "tiny": (0.0, 0.0, -40.0, -40.0),
    "huge": (0.0, 0.0, 20.0, 20.0),
}
"""Deltas as a detector may predict them, by what they stand for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried.

    Args:
        what: in words.
        passed: whether it is so.
        detail: what was found.
        needed: whether a training needs it; else it is worth knowing.
    """

    what: str
    passed: bool
    detail: str = ""
    needed: bool = True


def try_own_loss(spec: str) -> list[Trial]:
    """Return what a loss does on an empty batch and on pairs of boxes that are equal, near, disjoint, tiny or huge.

    Args:
        spec: `package.module:object`, with its options in brackets.

    Raises:
        ConfigError: it cannot be imported, made or called, or is not one number per box.
    """
    loss = from_spec(spec)
    try_loss(loss, name=spec)
    stage_loss = StageLoss(loss=loss, name=spec)

    def on(*names: str) -> tuple[Tensor, Tensor]:
        """Return values (K,) and gradients (K, 4) on pairs of these names."""
        count = len(names)
        target = torch.tensor([TARGET] * count).reshape(-1, 4)
        context = {"images": torch.ones(1, count, dtype=torch.bool), "image_sizes": torch.full((count, 2), 320.0)}
        anchors = torch.tensor([[64.0, 64.0, 96.0, 96.0]]).repeat(count, 1)

        def values(deltas: Tensor) -> Tensor:
            losses = stage_loss.of_deltas(deltas, target, weights=DELTA_WEIGHTS, anchors=anchors, **context)
            return losses.sum(dim=1) if losses.dim() == 2 else losses

        return value_and_gradient(values, torch.tensor([PREDICTED[name] for name in names]).reshape(-1, 4))

    names = list(PREDICTED)
    values, gradients = on(*names)
    results = dict(zip(names, zip(values.tolist(), gradients, strict=True), strict=True))
    broken = [
        name for name, (value, gradient) in results.items() if not torch.tensor([value, *gradient]).isfinite().all()
    ]
    one_by_one = torch.tensor([on(name)[0].item() for name in names])
    same = torch.allclose(one_by_one, values, rtol=1e-4, atol=1e-5, equal_nan=True)
    where = f"not where the box is {', '.join(broken)}" if broken else ""
    at_target, near = results["equal"][0], results["near"][0]
    downhill = _leads_to_target(results["near"][1])
    on_boxes = getattr(loss, "on_boxes", None)
    of_boxes = [_try_on_boxes(on_boxes)] if callable(on_boxes) else []
    return [
        Trial("an empty batch gives no value", on()[0].shape == (0,)),
        Trial("values and gradients are finite", not broken, where),
        Trial("a near box has a gradient", bool(results["near"][1].abs().sum() > 0)),
        Trial("equal boxes have the least loss", at_target <= near, f"{at_target:.4g}, and {near:.4g} of a near box"),
        Trial("the gradient leads to the target", downhill, needed=False),
        Trial("a disjoint box is pulled", bool(results["disjoint"][1].abs().sum() > 0), needed=False),
        Trial("a box's loss does not depend on the others", same, needed=False),
        Trial("it has on_boxes, for curves, simulate and FCOS", callable(on_boxes), needed=False),
        *of_boxes,
    ]  # fmt: skip


def _try_on_boxes(on_boxes: Callable[..., Any]) -> Trial:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 4.0, 12.0, 9.0]])
    what = "on_boxes gives a number for each box"
    try:
        shape = tuple(on_boxes(boxes, boxes.flip(0), box_format="xyxy").shape)
    except Exception as error:  # code of anyone
        return Trial(what, False, f"{type(error).__name__}: {error}")
    return Trial(what, shape == (2,), "" if shape == (2,) else f"of 2 boxes the shape {shape}")


def _leads_to_target(gradient: Tensor) -> bool:
    """Return whether a small step against the gradient of the near box brings its deltas closer to the target."""
    target, start = torch.tensor(TARGET), torch.tensor(PREDICTED["near"])
    length = gradient.norm()
    step = start - 0.05 * gradient / length if length > 0 else start
    return bool((step - target).norm() < (start - target).norm())
