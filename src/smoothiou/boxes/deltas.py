"""Deltas, the codes that a detector predicts: a box relative to an anchor, times four weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothiou.boxes.formats import in_float

Weights = tuple[float, float, float, float]

CODE_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Factors on (dx, dy, dw, dh) in Faster R-CNN; torchvision's region proposal network has (1, 1, 1, 1)."""

# Decoded sides stop at 1000 / 16 anchor sides (a 16 px anchor becomes a 1000 px box), as in torchvision and
# Detectron: exp() of an untrained output would overflow.
SIZE_CLAMP = math.log(1000.0 / 16)


def decode_deltas(deltas: Tensor, anchors: Tensor, *, weights: Weights = CODE_WEIGHTS) -> Tensor:
    """Return the boxes (K, 4) in pixels that deltas (K, 4) stand for, as torchvision's `BoxCoder` does.

        centre = anchor centre + (dx, dy) / weight * anchor size
        size   = anchor size * exp((dw, dh) / weight)        at most 62.5 anchor sizes

    Args:
        deltas: (K, 4).
        anchors: (K, 4) boxes in pixels.
        weights: factors that the deltas were multiplied by.
    """
    deltas = in_float(deltas)
    x1, y1, x2, y2 = anchors.to(deltas.dtype).unbind(-1)
    width, height = x2 - x1, y2 - y1
    return _decode(deltas, weights, (x1 + 0.5 * width, y1 + 0.5 * height), (width, height))


def decode_unit(deltas: Tensor, *, weights: Weights = CODE_WEIGHTS) -> Tensor:
    """Return the boxes (K, 4) that deltas stand for inside the anchor (0, 0, 1, 1).

    The frame in which IoU and GIoU are the same as in pixels, and everything is measured in anchor sides.
    """
    return _decode(in_float(deltas), weights, (0.5, 0.5), (1.0, 1.0))


def encode_boxes(boxes: Tensor, anchors: Tensor, *, weights: Weights = CODE_WEIGHTS) -> Tensor:
    """Return the deltas (K, 4) of boxes (K, 4) relative to anchors (K, 4): the inverse of `decode_deltas`.

    Boxes and anchors need an area; the logarithm of a side of 0 is minus infinity.
    """
    boxes = in_float(boxes)
    weight_x, weight_y, weight_w, weight_h = weights
    x1, y1, x2, y2 = boxes.unbind(-1)
    anchor_x1, anchor_y1, anchor_x2, anchor_y2 = anchors.to(boxes.dtype).unbind(-1)
    width, height = x2 - x1, y2 - y1
    anchor_width, anchor_height = anchor_x2 - anchor_x1, anchor_y2 - anchor_y1
    shift_x = (x1 + 0.5 * width) - (anchor_x1 + 0.5 * anchor_width)
    shift_y = (y1 + 0.5 * height) - (anchor_y1 + 0.5 * anchor_height)
    return torch.stack(
        (
            weight_x * shift_x / anchor_width,
            weight_y * shift_y / anchor_height,
            weight_w * torch.log(width / anchor_width),
            weight_h * torch.log(height / anchor_height),
        ),
        -1,
    )


def _decode(
    deltas: Tensor,
    weights: Weights,
    centre: tuple[Tensor | float, Tensor | float],
    size: tuple[Tensor | float, Tensor | float],
) -> Tensor:
    weight_x, weight_y, weight_w, weight_h = weights
    dx, dy, log_width, log_height = deltas.unbind(-1)
    x, y = dx / weight_x * size[0] + centre[0], dy / weight_y * size[1] + centre[1]
    half_width = 0.5 * (torch.exp((log_width / weight_w).clamp(max=SIZE_CLAMP)) * size[0])
    half_height = 0.5 * (torch.exp((log_height / weight_h).clamp(max=SIZE_CLAMP)) * size[1])
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), -1)
