"""Plain gradient descent of many boxes at once, and what is measured on the way.

    B  <-  B - rate * (2 - IoU) * dL/dB          200 steps; rate .1, after step 160 .01, after step 180 .001

The boxes go through in chunks that fit a processor's cache, a share of them in each of a few processes. All chunks
make a step before any makes the next, so that what couples all boxes, lambda, can be taken over all of them. Sums
are added up in the order of the chunks: the number of processes changes no bit of a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smoothiou.errors import DivergedError
from smoothiou.lab.share import THRESHOLDS, Gradient, Means, Share
from smoothiou.lab.team import Helper, Team, start_share

SCHEDULE = ((160, 0.1), (180, 0.01), (200, 0.001))
"""(last step, rate): the paper's."""
EVERY = 5
"""Steps between two counts of boxes above the thresholds, and of inverted boxes."""


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
        workers: processes at work.
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

    def add(self, sums: Sequence[Sequence[float]]) -> Means:
        """Take the sums of all chunks, in their order; return mean IoU and the mean of what the gradient observed."""
        error, iou, observed, *counts = (sum(column) for column in zip(*sums, strict=True))
        self.error.append(error / self.count)
        self.mean_iou.append(iou / self.count)
        if counts:
            for threshold, count in zip(THRESHOLDS, counts, strict=False):
                self.above[threshold].append(count / self.count)
            self.inverted.append(round(counts[-1]))
        return self.mean_iou[-1], observed / self.count


def descend(
    anchors: Tensor,
    targets: Tensor,
    gradient: Gradient,
    *,
    team: Team | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Descent:
    """Let boxes run down a loss for 200 steps.

    Args:
        anchors: (4, K) where boxes (x, y, w, h) start; left as they are.
        targets: (4, K) where they should end.
        gradient: of the loss.
        team: processes that share the work; None: this one does it alone.
        on_step: told after each step: its number, mean error and mean IoU.

    Raises:
        DivergedError: a box became infinite or no number.
        SmoothIoUError: a helper process failed.
    """
    count = anchors.shape[1]
    size = gradient.chunk or count
    chunks = -(-count // size)
    helpers = team.helpers(chunks) if team else []
    began = time.monotonic()
    # Equal shares, of whole chunks; the first is this process's own.
    bounds = [min(chunks * part // (1 + len(helpers)) * size, count) for part in range(2 + len(helpers))]
    bounds[-1] = count
    for helper, start, end in zip(helpers, bounds[1:-1], bounds[2:], strict=True):
        start_share(helper, gradient, anchors[:, start:end], targets[:, start:end], size=size)
    own = Share(gradient, anchors[:, : bounds[1]], targets[:, : bounds[1]], size=size)
    for helper in helpers:
        helper.answer()
    trace = _Trace(count)
    means: Means | None = None
    for number, rate in enumerate(rates()):
        means = trace.add(_step_all(own, helpers, rate, means, counted=number % EVERY == 0))
        if not trace.error[-1] < float("inf"):
            raise DivergedError(f"A box became infinite or no number in step {number} of the simulation.")
        if on_step and number:
            on_step(number, trace.error[-1], trace.mean_iou[-1])
    for helper in helpers:
        helper.ask("result")
    parts = [own.result(), *([torch.from_numpy(part) for part in helper.answer()] for helper in helpers)]
    return Descent(
        error=trace.error,
        mean_iou=trace.mean_iou,
        above=trace.above,
        inverted=trace.inverted,
        boxes=torch.cat([boxes for boxes, _ in parts], dim=1),
        iou=torch.cat([iou for _, iou in parts]),
        seconds=time.monotonic() - began,
        workers=1 + len(helpers),
    )


def _step_all(
    own: Share, helpers: Sequence[Helper], rate: float, means: Means | None, *, counted: bool
) -> list[list[float]]:
    """Let every share make a step; return the sums of all chunks in their order."""
    for helper in helpers:
        helper.ask("step", rate, means, counted)
    sums = own.step(rate, means, counted)
    for helper in helpers:
        sums += helper.answer()
    return sums


def rates() -> Iterator[float]:
    """Yield 0 for the look before the first step, and then the rate of every step."""
    yield 0.0
    done = 0
    for last, rate in SCHEDULE:
        yield from (rate for _ in range(done, last))
        done = last
