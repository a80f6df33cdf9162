"""The paper's example, a box that slides over another, and each loss along the way (Figures 1 to 3).

The paper states: the boxes touch when the prediction is at (20, 40), cover each other at (40, 40), and lose touch at
(60, 40); only x changes. Our reading: the points are centres, the target's centre is (40, 40), and both boxes are
20 wide, which the distance of 20 between contact and full overlap fixes for boxes of equal size. The height is not
given and changes nothing, as the boxes stand at equal height; we take 20. Were the points corners, Figures 1 and 2
would be the same. Figure 3 has "an introduced size mismatch" without a size: we take a prediction of 30 x 30 with
the same centres, which touches at 15 and 65.

Boxes are in pixels, and losses of deltas act on the corners, as in Algorithm 1: Huber is the sum over four corners.
A mini-batch is one pair, so that lambda is the pair's own IoU.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothiou.boxes import aligned_iou, to_xyxy
from smoothiou.lab.pairs import SinglePairLoss

SCENE = 80.0
"""Side of the square that the example lives in, in pixels."""
CENTRE = 40.0
"""x and y of the target's centre."""
SIDE = 20.0
"""Width and height of the target, and of the prediction where the sizes match."""
MISMATCH = (30.0, 30.0)
"""Width and height of the prediction in Figure 3."""
DELTAS = (1.0, 1.25, 1.5, 1.75, 2.0)
"""Thresholds of Huber in Figure 2 (left): "varied from 1-2"."""
SPACING = 0.25
"""Pixels between two positions of a curve."""

FIGURE_1 = ("huber", "l2", "iou")
FIGURE_2_LEFT = tuple(f"{loss}[delta={delta:g}]" for loss in ("huber", "smooth-iou") for delta in DELTAS)
FIGURE_2_RIGHT = ("huber", "l2", "smooth-iou")
FIGURE_3 = ("huber", "smooth-iou")
PAPER = ("huber", "l2", "iou", "smooth-iou")
"""All losses that the paper draws."""

STEP = 1e-4
"""Pixels to either side over which the slope of a curve is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slide:
    """One loss along the slide; every tuple has one number for each position.

    Args:
        loss: specification of the loss.
        size: width and height of the predicted box, in pixels.
        x: centre of the predicted box, in pixels.
        iou: with the target.
        lam: lambda, for losses that have one.
        value: the loss.
        gradient: derivative by x as training computes it: by autograd, where lambda is a constant.
        slope: of the drawn curve, by central differences; at a kink the mean of both sides.
    """

    loss: str
    size: tuple[float, float]
    x: tuple[float, ...]
    iou: tuple[float, ...]
    lam: tuple[float, ...] | None
    value: tuple[float, ...]
    gradient: tuple[float, ...]
    slope: tuple[float, ...]

    @property
    def scaled(self) -> tuple[float, ...]:
        """The loss divided by its largest value along the slide (all 0 where that is 0)."""
        top = max(map(abs, self.value))
        return tuple(value / top if top else 0.0 for value in self.value)

    @property
    def contact(self) -> tuple[float, float]:
        """The positions at which the boxes begin and cease to touch."""
        reach = (SIDE + self.size[0]) / 2
        return CENTRE - reach, CENTRE + reach


def positions() -> tuple[float, ...]:
    """Return the positions of the slide: 0 to 80 in steps of a quarter pixel."""
    return tuple(SPACING * step for step in range(round(SCENE / SPACING) + 1))


def slide(spec: str, *, size: tuple[float, float] = (SIDE, SIDE), x: Sequence[float] | None = None) -> Slide:
    """Return value, gradient and slope of a loss while the predicted box slides over the target from left to right.

    Args:
        spec: a loss with its options (see `SinglePairLoss`).
        size: width and height of the predicted box, in pixels.
        x: positions of its centre; a quarter pixel apart from 0 to 80 when None.

    Returns:
        The curves, in float64.

    Raises:
        ConfigError: no such loss or option, or the loss cannot be called on boxes.
    """
    loss = SinglePairLoss(spec)
    centres = torch.tensor(positions() if x is None else tuple(x), dtype=torch.float64)
    target = boxes_at(torch.full_like(centres, CENTRE), (SIDE, SIDE))
    pred = boxes_at(centres, size)
    value, by_corner = loss(pred, target)
    ahead, _ = loss(boxes_at(centres + STEP, size), target)
    behind, _ = loss(boxes_at(centres - STEP, size), target)
    iou = aligned_iou(pred, target)
    lam = iou if loss.lam == "iou" else None if loss.lam is None else torch.full_like(iou, loss.lam)
    return Slide(
        loss=spec,
        size=size,
        x=_numbers(centres),
        iou=_numbers(iou),
        lam=None if lam is None else _numbers(lam),
        value=_numbers(value),
        gradient=_numbers(by_corner[:, 0] + by_corner[:, 2]),  # both x corners move with the box
        slope=_numbers((ahead - behind) / (2 * STEP)),
    )


def slides(specs: Sequence[str], *, size: tuple[float, float] = (SIDE, SIDE)) -> list[Slide]:
    """Return `slide` for each loss, in order."""
    return [slide(spec, size=size) for spec in specs]


def boxes_at(x: Tensor, size: tuple[float, float]) -> Tensor:
    """Return boxes (K, 4) xyxy with centres (x, 40) for x (K,) and one size (width, height)."""
    width, height = (torch.full_like(x, side) for side in size)
    return to_xyxy(torch.stack((x, torch.full_like(x, CENTRE), width, height), -1), box_format="cxcywh")


def slides_csv(curves: Sequence[Slide]) -> str:
    """Return curves as CSV, one row for each loss and position; numbers read back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("loss", "width", "height", "x", "iou", "lambda", "value", "scaled", "gradient", "slope"))
    for curve in curves:
        lam = curve.lam if curve.lam is not None else [""] * len(curve.x)
        columns = (curve.x, curve.iou, lam, curve.value, curve.scaled, curve.gradient, curve.slope)
        for row in zip(*columns, strict=True):
            writer.writerow((curve.loss, *curve.size, *row))
    return text.getvalue()


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    # Adding 0 turns -0.0 into 0.0.
    return tuple((tensor.double() + 0.0).tolist())
