"""Plain gradient descent of many boxes at once, with the DIoU paper's schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smoothiou.errors import DivergedError

RATES = (0.0,) + 160 * (0.1,) + 20 * (0.01,) + 20 * (0.001,)
"""Learning rate of each step; the first entry is the state before any step."""
STEPS = len(RATES) - 1
THRESHOLDS = (0.5, 0.75, 0.9)
"""IoU thresholds whose shares of boxes are recorded."""


@dataclass(kw_only=True, slots=True)
class Trace:
    """State of the boxes after 0, 1, ... 200 steps.

    Args:
        error: mean L1 distance to the targets, summed over the four numbers of a box.
        mean_iou: mean IoU with the targets.
        above: threshold -> share of boxes whose IoU exceeds it.
        inverted: number of boxes with a width or height below 0.
    """

    error: list[float] = field(default_factory=list)
    mean_iou: list[float] = field(default_factory=list)
    above: dict[str, list[float]] = field(default_factory=lambda: {f"{threshold:g}": [] for threshold in THRESHOLDS})
    inverted: list[int] = field(default_factory=list)


def descend(
    start: Tensor,
    targets: Tensor,
    *,
    direction: Callable[[Tensor, Tensor], Tensor],
    iou: Callable[[Tensor, Tensor], Tensor],
) -> Trace:
    """Run 200 steps of `boxes -= rate * direction(boxes, IoU of the boxes)`.

    Args:
        start: (N, 4) boxes or deltas; not changed.
        targets: (N, 4) of the same kind; the last two columns of a box are its sides.
        direction: from (N, 4) boxes and their IoU (N,) to (N, 4).
        iou: from boxes and targets to (N,).

    Raises:
        DivergedError: a number became infinite or NaN.
    """
    trace, boxes, overlap = Trace(), start.clone(), torch.zeros(len(start))
    for step, rate in enumerate(RATES):
        if rate:
            boxes = boxes - rate * direction(boxes, overlap)
        overlap = iou(boxes, targets)
        error = (boxes - targets).abs().sum(1).double().mean().item()
        if not error < float("inf"):  # true for NaN, too
            raise DivergedError(f"A box became infinite or NaN in step {step} of the simulation.")
        trace.error.append(error)
        trace.mean_iou.append(overlap.double().mean().item())
        trace.inverted.append(int((boxes[:, 2:] < 0).any(1).sum()))
        for threshold, fractions in zip(THRESHOLDS, trace.above.values(), strict=True):
            fractions.append((overlap > threshold).double().mean().item())
    return trace
