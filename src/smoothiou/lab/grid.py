"""Every loss on a grid of boxes around one truth: what the interactive page shows.

The truth is the example's (centre (40, 40), 20 x 20 pixels). The predicted box has a centre on whole pixels from 0 to
80 and sides of 10, 14, 20, 28 or 40 pixels. The scene is its own mirror image, left to right and top to bottom, so one
quarter of the positions holds all numbers of a loss that is its own mirror image. Whether it is, is tried and not
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
from smoothiou.lab.pairs import SinglePairLoss
from smoothiou.loss_spec import parse_loss
from smoothiou.losses.catalogue import CATALOGUE

SIDES = (10, 14, 20, 28, 40)
"""Widths and heights of the predicted box, in pixels: steps of about the square root of 2."""
REACH = round(SCENE / 2)
"""Largest distance of the centres along an axis, in pixels."""
NUMBERS = ("value", "x", "y", "width", "height")
"""What is kept of a box: the loss, and its derivatives by centre and size.

Not by the corners: a box grows by their difference, which half precision would round away where both are large.
"""

LARGEST_HALF = 65504

# An offset that no edge of the two boxes shares; mirror images are compared beside ties, where a subgradient is chosen.
BESIDE = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class GridLoss:
    """One loss on the grid."""

    loss: str
    """The loss as it was asked for."""
    summary: str
    """Its line of the catalogue; empty for a loss of one's own."""
    formula: str
    whole: bool
    """Whether all positions are kept; else those right of and below the truth's centre, for the loss is symmetric."""
    packed: bytes
    """The numbers (see `pack`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossGrid:
    """Losses on the grid, and the overlap."""

    losses: tuple[GridLoss, ...]
    iou: bytes
    """The IoU, packed like a loss with one number for each box."""
    sides: tuple[int, ...] = SIDES
    reach: int = REACH
    centre: float = CENTRE
    side: float = SIDE


def loss_grid(specs: Sequence[str]) -> LossGrid:
    """Return losses at all boxes of the grid.

    Args:
        specs: losses with their options (see `SinglePairLoss`); a mini-batch is one pair.

    Raises:
        ConfigError: no such loss or option, the loss cannot be called on boxes, or has values that half precision
            cannot hold.
    """
    found = []
    for spec in specs:
        loss = SinglePairLoss(spec)
        whole = not is_symmetric(loss)
        pred = grid_boxes(whole=whole)
        value, gradient = loss(pred, _truth(len(pred)))
        numbers = torch.stack((value, *by_centre_and_size(gradient)))  # (5, boxes)
        card = CATALOGUE.get(parse_loss(spec)[0])
        found.append(
            GridLoss(
                loss=spec,
                summary=card.summary if card else "",
                formula=card.formula if card else "",
                whole=whole,
                packed=pack(numbers, spec),
            )
        )
    pred = grid_boxes(whole=False)
    iou = aligned_iou(pred, _truth(len(pred)))
    return LossGrid(losses=tuple(found), iou=pack(iou[None], "iou"))


def grid_boxes(*, whole: bool) -> Tensor:
    """Return the predicted boxes as corners, (boxes, 4), ordered by width, height, y and x (x changes fastest).

    Args:
        whole: from 0 to 80 along both axes; else from the truth's centre, 40, to 80.
    """
    side = torch.tensor(SIDES, dtype=torch.float64)
    shift = torch.arange(-REACH if whole else 0, REACH + 1, dtype=torch.float64)
    width, height, y, x = torch.meshgrid(side, side, shift, shift, indexing="ij")
    columns = (CENTRE + x, CENTRE + y, width, height)
    return to_xyxy(torch.stack([column.reshape(-1) for column in columns], -1), box_format="cxcywh")


def by_centre_and_size(gradient: Tensor) -> tuple[Tensor, ...]:
    """Return the derivatives by centre x, centre y, width and height (K,) from those by the corners (K, 4)."""
    x1, y1, x2, y2 = gradient.unbind(-1)
    return x1 + x2, y1 + y2, (x2 - x1) / 2, (y2 - y1) / 2


def pack(numbers: Tensor, name: str) -> bytes:
    """Return numbers (count, boxes) as half-precision floats, all low bytes before all high bytes, under zlib.

    Half precision keeps three digits and a little; the split makes equal bytes meet, which halves the size.

    Raises:
        ConfigError: a number is not finite in half precision.
    """
    if not (numbers.abs() < LARGEST_HALF).all():  # false for NaN too
        raise ConfigError(f"{name}: a value or gradient on the grid is not finite or above {LARGEST_HALF:g}.")
    half = numbers.numpy().astype(np.float16)
    bits = (half + np.float16(0)).view(np.uint16)  # + 0: no negative zeros
    planes = (bits & 255).astype(np.uint8).tobytes() + (bits >> 8).astype(np.uint8).tobytes()
    return zlib.compress(planes, 9)


def unpack(packed: bytes, count: int, *, whole: bool = False) -> np.ndarray:
    """Return the numbers of `pack` as float32 with shape (count, widths, heights, ys, xs)."""
    planes = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(2, -1).astype(np.uint16)
    half = (planes[0] | planes[1] << 8).view(np.float16)
    span = 2 * REACH + 1 if whole else REACH + 1
    return half.astype(np.float32).reshape(count, len(SIDES), len(SIDES), span, span)


def is_symmetric(loss: SinglePairLoss) -> bool:
    """Return whether a pair of boxes and its mirror image have the same loss, and mirrored gradients."""
    places = torch.arange(BESIDE, REACH, 4.1, dtype=torch.float64)
    side = torch.tensor(SIDES, dtype=torch.float64)
    width, height, y, x = (part.reshape(-1) for part in torch.meshgrid(side, side, places, places, indexing="ij"))
    value, (by_x, by_y, *by_size) = _around(loss, x, y, width, height)
    for sign_x, sign_y in ((-1, 1), (1, -1), (-1, -1)):
        other, found = _around(loss, sign_x * x, sign_y * y, width, height)
        pairs = [(other, value), *zip(found, (sign_x * by_x, sign_y * by_y, *by_size), strict=True)]
        if not all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in pairs):
            return False
    return True


def _around(
    loss: SinglePairLoss, x: Tensor, y: Tensor, width: Tensor, height: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    pred = to_xyxy(torch.stack((CENTRE + x, CENTRE + y, width, height), -1), box_format="cxcywh")
    value, gradient = loss(pred, _truth(len(pred)))
    return value, by_centre_and_size(gradient)


def _truth(count: int) -> Tensor:
    corners = [CENTRE - SIDE / 2] * 2 + [CENTRE + SIDE / 2] * 2
    return torch.tensor([corners], dtype=torch.float64).expand(count, 4)
