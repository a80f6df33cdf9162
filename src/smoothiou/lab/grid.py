"""Every loss on a grid of boxes around one target: the numbers of the interactive page.

The target is the example's (centre (40, 40), 20 x 20 pixels). The predicted box has a centre on whole pixels from 0 to
80 and sides of 10, 14, 20, 28 or 40 pixels. The scene is its own mirror image, left to right and top to bottom, so one
quarter of the positions holds all numbers of a loss that is its own mirror image. Whether it is, is tested and not
assumed: Extended-IoU is not, and keeps all positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothiou.boxes import aligned_iou, to_xyxy
from smoothiou.errors import ConfigError
from smoothiou.lab.curves import CENTRE, SCENE, SIDE
from smoothiou.lab.pairs import SinglePairLoss, info_of

SIDES = (10, 14, 20, 28, 40)
"""Widths and heights of the predicted box, in pixels: steps of about the square root of 2."""
REACH = round(SCENE / 2)
"""Largest distance of the centres along an axis, in pixels."""
NUMBERS = ("value", "x", "y", "width", "height")
"""The numbers of a box: the loss, and its derivatives by centre and size.

Not by the corners: a box grows by their difference, which half precision would round away where both are large.
"""
LARGEST_HALF = 65504
OFF_EDGE = 0.3
"""Mirror images are compared at such an offset, where no edges coincide: at ties a subgradient is chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridLoss:
    """One loss on the grid.

    Args:
        loss: specification of the loss.
        summary: what it is, in a line; empty for a loss of one's own.
        formula: likewise.
        whole: all positions are stored; else those right of and below the target's centre, for the loss is symmetric.
        packed: `NUMBERS` of every box (see `pack`).
    """

    loss: str
    summary: str
    formula: str
    whole: bool
    packed: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LossGrid:
    """Losses on the grid, and the IoU, packed like a loss with one number for each box."""

    losses: tuple[GridLoss, ...]
    iou: bytes
    sides: tuple[int, ...] = SIDES
    reach: int = REACH
    centre: float = CENTRE
    side: float = SIDE


def loss_grid(specs: Sequence[str]) -> LossGrid:
    """Return losses at all boxes of the grid; a mini-batch is one pair.

    Args:
        specs: losses with their options (see `SinglePairLoss`).

    Raises:
        ConfigError: no such loss or option, the loss cannot be called on boxes, or has values that half precision
            cannot hold.
    """
    losses = []
    for spec in specs:
        loss, info = SinglePairLoss(spec), info_of(spec)
        whole = not is_symmetric(loss)
        losses.append(
            GridLoss(
                loss=spec,
                summary=info.summary if info else "",
                formula=info.formula if info else "",
                whole=whole,
                packed=pack(_numbers(loss, grid_boxes(whole=whole)), spec),
            )
        )
    boxes = to_xyxy(grid_boxes(whole=False), box_format="cxcywh")
    return LossGrid(losses=tuple(losses), iou=pack(aligned_iou(boxes, _target(len(boxes)))[None], "iou"))


def grid_boxes(*, whole: bool) -> Tensor:
    """Return the predicted boxes (N, 4) as cxcywh, ordered by width, height, y and x (x changes fastest).

    Args:
        whole: centres from 0 to 80 along both axes; else from the target's centre, 40, to 80.
    """
    return _boxes_around(torch.arange(-REACH if whole else 0, REACH + 1, dtype=torch.float64))


def _boxes_around(shifts: Tensor) -> Tensor:
    side = torch.tensor(SIDES, dtype=torch.float64)
    width, height, y, x = torch.meshgrid(side, side, shifts, shifts, indexing="ij")
    return torch.stack((CENTRE + x, CENTRE + y, width, height), -1).reshape(-1, 4)


def _numbers(loss: SinglePairLoss, boxes: Tensor) -> Tensor:
    """Return `NUMBERS` (5, N) of boxes cxcywh."""
    value, gradient = loss(to_xyxy(boxes, box_format="cxcywh"), _target(len(boxes)))
    x1, y1, x2, y2 = gradient.unbind(-1)
    return torch.stack((value, x1 + x2, y1 + y2, (x2 - x1) / 2, (y2 - y1) / 2))


def _target(count: int) -> Tensor:
    low, high = CENTRE - SIDE / 2, CENTRE + SIDE / 2
    return torch.tensor([[low, low, high, high]], dtype=torch.float64).expand(count, 4)


def is_symmetric(loss: SinglePairLoss) -> bool:
    """Return whether a pair of boxes and its mirror image have the same loss, and mirrored gradients."""
    boxes = _boxes_around(torch.arange(OFF_EDGE, REACH, 4.1, dtype=torch.float64))
    numbers = _numbers(loss, boxes)
    for x, y in ((-1, 1), (1, -1), (-1, -1)):
        signs = torch.tensor([x, y, 1, 1], dtype=torch.float64)
        mirrored = torch.cat((CENTRE + (boxes[:, :2] - CENTRE) * signs[:2], boxes[:, 2:]), dim=1)
        expected = torch.cat((numbers[:1], numbers[1:] * signs[:, None]))
        if not torch.allclose(_numbers(loss, mirrored), expected, rtol=1e-6, atol=1e-9):
            return False
    return True


def pack(numbers: Tensor, name: str) -> bytes:
    """Return numbers (count, boxes) as half-precision floats, all low bytes before all high bytes, under zlib.

    Half precision keeps three digits and a little; the split makes equal bytes meet, which halves the size.

    Raises:
        ConfigError: a number is not finite in half precision.
    """
    if not (numbers.abs() < LARGEST_HALF).all():  # false for NaN too
        raise ConfigError(f"{name}: a value or gradient on the grid is not finite or above {LARGEST_HALF:g}.")
    bits = (numbers.numpy().astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0: no negative zeros
    planes = (bits & 255).astype(np.uint8).tobytes() + (bits >> 8).astype(np.uint8).tobytes()
    return zlib.compress(planes, 9)


def unpack(packed: bytes, count: int, *, whole: bool = False) -> np.ndarray:
    """Return the numbers of `pack` as float32 with shape (count, widths, heights, ys, xs)."""
    planes = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(2, -1).astype(np.uint16)
    span = 2 * REACH + 1 if whole else REACH + 1
    half = (planes[0] | planes[1] << 8).view(np.float16)
    return half.astype(np.float32).reshape(count, len(SIDES), len(SIDES), span, span)
