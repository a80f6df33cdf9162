"""Plain gradient descent of many boxes at once, and what is measured on the way.

    B  <-  B - rate * (2 - IoU) * dL/dB          200 steps; rate .1, after step 160 .01, after step 180 .001

The boxes go through in chunks that fit a processor's cache, on a few threads (torch lets go of Python's lock while
it computes). All chunks make a step before any makes the next, so that what couples all boxes, lambda, can be taken
over all of them. Sums are added up in the order of the chunks: the number of threads changes no bit of a result.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from smoothiou.errors import DivergedError
from smoothiou.lab.published import similarity

SCHEDULE = ((160, 0.1), (180, 0.01), (200, 0.001))
"""(last step, rate): the paper's."""
THRESHOLDS = (0.5, 0.75, 0.9)
"""IoU above which a box counts as found, more or less strictly."""
EVERY = 5
"""Steps between two counts of boxes above the thresholds, and of inverted boxes."""
CHUNK = 32768


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Descent:
    """What became of the boxes; every list begins before the first step.

    Args:
        error: mean of |dx| + |dy| + |dw| + |dh| after 0, 1, ... steps.
        mean_iou: likewise.
        above: share of boxes whose IoU exceeds a threshold, after 0, 5, 10, ... steps, by threshold.
        inverted: number of boxes with a width or height below 0, after 0, 5, 10, ... steps.
        boxes: (4, K) where they ended.
        iou: (K,) of where they ended.
        seconds: how long it took.
        workers: threads at work.
    """

    error: list[float]
    mean_iou: list[float]
    above: dict[float, list[float]]
    inverted: list[int]
    boxes: Tensor
    iou: Tensor
    seconds: float
    workers: int


@dataclass(slots=True)
class _Trace:
    """What is measured step by step."""

    count: int
    error: list[float] = field(default_factory=list)
    mean_iou: list[float] = field(default_factory=list)
    above: dict[float, list[float]] = field(default_factory=lambda: {threshold: [] for threshold in THRESHOLDS})
    inverted: list[int] = field(default_factory=list)

    def add(self, sums: Sequence[Sequence[float]]) -> float:
        """Take the sums of all chunks, in their order; return the mean of what the gradient observed."""
        error, iou, observed, *counts = (sum(column) for column in zip(*sums, strict=True))
        self.error.append(error / self.count)
        self.mean_iou.append(iou / self.count)
        if counts:
            for threshold, count in zip(THRESHOLDS, counts, strict=False):
                self.above[threshold].append(count / self.count)
            self.inverted.append(round(counts[-1]))
        return observed / self.count


def descend(
    anchors: Tensor,
    targets: Tensor,
    gradient: Gradient,
    *,
    workers: int | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Descent:
    """Let boxes run down a loss for 200 steps.

    Args:
        anchors: (4, K) where boxes (x, y, w, h) start; left as they are.
        targets: (4, K) where they should end.
        gradient: of the loss.
        workers: threads; None: one per core, at most four.
        on_step: told after each step: its number, mean error and mean IoU.

    Raises:
        DivergedError: a box became infinite or no number.
    """
    count = anchors.shape[1]
    chunks = [
        _Chunk(own.clone(memory_format=torch.contiguous_format), goal.contiguous(), torch.empty_like(own[0]))
        for own, goal in zip(
            *(boxes.split(gradient.chunk or count, dim=1) for boxes in (anchors, targets)), strict=True
        )
    ]
    workers = 1 if len(chunks) == 1 else workers or min(4, available_cores())
    trace = _Trace(count)
    began = time.monotonic()
    with single_threaded(len(chunks) > 1), ThreadPoolExecutor(workers) as pool:
        for number, rate in enumerate(rates()):
            step = functools.partial(_step, gradient=gradient, rate=rate, counted=number % EVERY == 0)
            observed = trace.add(list(pool.map(step, chunks)))
            if not trace.error[-1] < float("inf"):
                raise DivergedError(f"A box became infinite or no number in step {number} of the simulation.")
            gradient.prepare(trace.mean_iou[-1], observed)
            if on_step and number:
                on_step(number, trace.error[-1], trace.mean_iou[-1])
    return Descent(
        error=trace.error,
        mean_iou=trace.mean_iou,
        above=trace.above,
        inverted=trace.inverted,
        boxes=torch.cat([chunk.boxes for chunk in chunks], dim=1),
        iou=torch.cat([chunk.iou for chunk in chunks]),
        seconds=time.monotonic() - began,
        workers=workers,
    )


@dataclass(slots=True)
class _Chunk:
    """Boxes that are moved together: tensors of their own, which no other thread touches."""

    boxes: Tensor
    targets: Tensor
    iou: Tensor


def _split(anchors: Tensor, targets: Tensor, *, size: int) -> list[_Chunk]:
    pairs = zip(anchors.split(size, dim=1), targets.split(size, dim=1), strict=True)
    return [
        _Chunk(own.clone(memory_format=torch.contiguous_format), goal.contiguous(), torch.empty_like(own[0]))
        for own, goal in pairs
    ]


def _step(chunk: _Chunk, *, gradient: Gradient, rate: float, counted: bool) -> list[float]:
    """Move a chunk one step (at rate 0 only look at it); return sums: error, IoU, what is observed, counts."""
    boxes, targets = chunk.boxes, chunk.targets
    if rate:
        slope = gradient(boxes, targets)
        boxes.sub_(slope.mul_((2 - chunk.iou).mul_(rate)))
    chunk.iou = similarity(boxes, targets)
    sums = [(boxes - targets).abs_().sum(), chunk.iou.sum()]
    if counted:
        sums += [(chunk.iou > threshold).count_nonzero() for threshold in THRESHOLDS]
        sums.append((boxes[2:].amin(0) < 0).count_nonzero())
    error, iou, *counts = torch.stack([number.double() for number in sums]).tolist()
    return [error, iou, gradient.observe(boxes, targets), *counts]


def rates() -> Iterator[float]:
    """Yield 0 for the look before the first step, and then the rate of every step."""
    yield 0.0
    done = 0
    for last, rate in SCHEDULE:
        yield from (rate for _ in range(done, last))
        done = last


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded(wanted: bool = True) -> Iterator[None]:
    """Keep torch from splitting operations over threads, where chunks are or where they are too short to gain."""
    before = torch.get_num_threads()
    try:
        if wanted:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
