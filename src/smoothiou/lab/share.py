"""A share of the boxes of a descent, moved by one process: in chunks that fit its cache, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smoothiou.lab.published import similarity

THRESHOLDS = (0.5, 0.75, 0.9)
"""IoU above which a box counts as found, more or less strictly."""
CHUNK = 32768

Means = tuple[float, float]
"""Mean IoU, and mean of what a gradient observes, over all boxes of all shares."""


class Gradient(Protocol):
    """The direction of steepest ascent of a loss, per box."""

    chunk: int | None
    """How many boxes it may be given at a time; None where it wants all, because each box acts on all."""

    def __call__(self, boxes: Tensor, targets: Tensor) -> Tensor:
        """Return dL/dB (4, K) for boxes (4, K)."""
        ...

    def observe(self, boxes: Tensor, targets: Tensor) -> float:
        """Return a sum over boxes whose mean over all of them it needs before the next step."""
        ...

    def prepare(self, mean_iou: float, mean_observed: float) -> None:
        """Take the means over all boxes, before every step."""
        ...


@dataclass(slots=True)
class _Chunk:
    """Boxes that are moved together."""

    boxes: Tensor
    targets: Tensor
    iou: Tensor


class Share:
    """Some chunks of boxes, and the gradient that moves them.

    Args:
        gradient: of the loss.
        anchors: (4, K) where boxes (x, y, w, h) start; left as they are.
        targets: (4, K) where they should end.
        size: boxes in a chunk.
    """

    def __init__(self, gradient: Gradient, anchors: Tensor, targets: Tensor, *, size: int) -> None:
        self.gradient = gradient
        pairs = zip(anchors.split(size, dim=1), targets.split(size, dim=1), strict=True)
        self.chunks = [
            _Chunk(own.clone(memory_format=torch.contiguous_format), goal.contiguous(), torch.empty_like(own[0]))
            for own, goal in pairs
        ]

    def step(self, rate: float, means: Means | None, counted: bool) -> list[list[float]]:
        """Move every box one step, or with no means yet only look; return the sums of each chunk.

        They are: error, IoU, what the gradient observes; and if `counted`, the number of boxes above each
        threshold, and of inverted ones.
        """
        if means is not None:
            self.gradient.prepare(*means)
        with single_threaded(len(self.chunks) > 1):
            return [self._step(chunk, rate, means is not None, counted) for chunk in self.chunks]

    def _step(self, chunk: _Chunk, rate: float, moved: bool, counted: bool) -> list[float]:
        boxes, targets = chunk.boxes, chunk.targets
        if moved:
            slope = self.gradient(boxes, targets)
            boxes.sub_(slope.mul_((2 - chunk.iou).mul_(rate)))
        chunk.iou = similarity(boxes, targets)
        sums = [(boxes - targets).abs_().sum(), chunk.iou.sum()]
        if counted:
            sums += [(chunk.iou > threshold).count_nonzero() for threshold in THRESHOLDS]
            sums.append((boxes[2:].amin(0) < 0).count_nonzero())
        error, iou, *counts = torch.stack([number.double() for number in sums]).tolist()
        return [error, iou, self.gradient.observe(boxes, targets), *counts]

    def result(self) -> tuple[Tensor, Tensor]:
        """Return the boxes (4, K) and their IoU (K,)."""
        return torch.cat([chunk.boxes for chunk in self.chunks], dim=1), torch.cat([chunk.iou for chunk in self.chunks])


@contextmanager
def single_threaded(wanted: bool = True) -> Iterator[None]:
    """Keep torch from splitting operations over threads, where processes share the work or it is too little."""
    before = torch.get_num_threads()
    try:
        if wanted:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
