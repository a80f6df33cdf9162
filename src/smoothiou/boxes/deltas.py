"""Deltas, what a detector predicts: (dx, dy, dw, dh) of a box relative to an anchor, times four weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothiou.boxes.overlap import (
    LARGEST_UNIT,
    SMALLEST_SPAN,
    Box,
    in_float,
    in_one_frame,
    in_one_type,
    iou_of,
    longest_span,
)

Weights = tuple[float, float, float, float]

DELTA_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Factors on (dx, dy, dw, dh) in Faster R-CNN; torchvision's region proposal network has (1, 1, 1, 1)."""

# Decoded sides stop at 1000 / 16 anchor sides (a 16 px anchor becomes a 1000 px box), as in torchvision and
# Detectron: exp() of an untrained output would overflow.
SIZE_CLAMP = math.log(1000.0 / 16)


def decode_deltas(deltas: Tensor, anchors: Tensor, *, weights: Weights = DELTA_WEIGHTS) -> Tensor:
    """Decode deltas to boxes in pixels, as torchvision's `BoxCoder` does.

        centre = anchor centre + (dx, dy) / weight * anchor size
        size   = anchor size * exp((dw, dh) / weight)        at most 62.5 anchor sizes

    Args:
        deltas: (K, 4).
        anchors: (K, 4) boxes xyxy in pixels.
        weights: factors that the deltas were multiplied by.

    Returns:
        (K, 4) boxes xyxy in pixels.
    """
    deltas = in_float(deltas)
    x1, y1, x2, y2 = anchors.to(deltas.dtype).unbind(-1)
    width, height = x2 - x1, y2 - y1
    return _decode(deltas, weights, (x1 + 0.5 * width, y1 + 0.5 * height), (width, height))


def decode_unit(deltas: Tensor, *, weights: Weights = DELTA_WEIGHTS) -> Tensor:
    """Decode deltas (K, 4) inside the anchor (0, 0, 1, 1): boxes in sides of the anchor.

    Args:
        deltas: (K, 4), dx, dy, dw, dh.
        weights: factors that the deltas were multiplied by.
    """
    return _decode(in_float(deltas), weights, (0.5, 0.5), (1.0, 1.0))


def encode_boxes(boxes: Tensor, anchors: Tensor, *, weights: Weights = DELTA_WEIGHTS) -> Tensor:
    """Encode boxes (K, 4) as deltas (K, 4) relative to anchors (K, 4): the inverse of `decode_deltas`.

    Boxes and anchors need an area; the logarithm of a side of 0 is minus infinity.

    Args:
        boxes: (K, 4) xyxy in pixels.
        anchors: (K, 4) xyxy in pixels, row by row.
        weights: factors that the deltas are multiplied by.
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


def deltas_iou(a: Tensor, b: Tensor, *, weights: Weights = DELTA_WEIGHTS) -> Tensor:
    """IoU of the boxes that two sets of deltas stand for, whatever their common anchors are.

    A box relative to its anchor is the box in pixels, shifted and scaled along each axis, which IoU does not notice.
    Value and gradient are finite for all finite deltas; equal deltas have IoU 1 and gradient 0.

    Args:
        a: (K, 4) deltas.
        b: (K, 4) deltas relative to the same anchors.
        weights: factors that the deltas were multiplied by.

    Returns:
        (K,) in [0, 1], in float32 (float64 for float64 deltas).
    """
    return iou_of(*delta_pair(*in_one_type(a, b), weights=weights))


def delta_pair(
    pred: Tensor, target: Tensor, *, weights: Weights, anchors: Tensor | None = None, per_axis: bool = True
) -> tuple[Box, Box]:
    """Decode deltas (K, 4) to columns in the frame of the two boxes' enclosing box.

    Args:
        pred: (K, 4) deltas.
        target: (K, 4) deltas relative to the same anchors.
        weights: factors that the deltas were multiplied by.
        anchors: (K, 4) boxes in pixels, of which the aspect ratio counts. None: lengths are in sides of the anchor.
        per_axis: as in `in_one_frame`.
    """
    return in_one_frame(*_around_the_target(pred, target, weights, anchors), per_axis=per_axis)


def delta_pair_in_pixels(pred: Tensor, target: Tensor, *, weights: Weights, anchors: Tensor) -> tuple[Box, Box, Tensor]:
    """Decode deltas (K, 4) as `delta_pair` with one factor for both axes, and return pixels per unit (K,) too.

    Args:
        pred: predicted deltas (K, 4).
        target: target deltas (K, 4), row by row.
        weights: factors that the deltas were multiplied by.
        anchors: (K, 4) xyxy in pixels.
    """
    pred_box, target_box = _around_the_target(pred, target, weights, anchors)
    x1, y1, x2, y2 = anchors.detach().to(pred.dtype).unbind(1)
    longer = torch.maximum(x2 - x1, y2 - y1).clamp(min=SMALLEST_SPAN)
    # The boxes are in double sides of the anchor.
    unit = (2 * longer * longest_span(pred_box, target_box)).clamp(max=LARGEST_UNIT)
    return *in_one_frame(pred_box, target_box, per_axis=False), unit


def _around_the_target(pred: Tensor, target: Tensor, weights: Weights, anchors: Tensor | None) -> tuple[Box, Box]:
    """Boxes of deltas, in double sides of the anchor (of its longer side), seen from the target's centre."""
    weight_x, weight_y, weight_w, weight_h = weights
    dx, dy, log_width, log_height = pred.unbind(1)
    target_dx, target_dy, target_log_width, target_log_height = target.unbind(1)
    # Measured from the target's centre, since only differences of centres are exact far off; and in double anchor
    # sides, so that no difference overflows.
    x, y = (0.5 * dx - 0.5 * target_dx) / weight_x, (0.5 * dy - 0.5 * target_dy) / weight_y
    half_width, half_height = _quarter_side(log_width, weight_w), _quarter_side(log_height, weight_h)
    target_width, target_height = _quarter_side(target_log_width, weight_w), _quarter_side(target_log_height, weight_h)
    if anchors is not None:
        aspect_x, aspect_y = _aspect(anchors.to(pred.dtype))
        x, half_width, target_width = x * aspect_x, half_width * aspect_x, target_width * aspect_x
        y, half_height, target_height = y * aspect_y, half_height * aspect_y, target_height * aspect_y
    pred_box = Box(x - half_width, y - half_height, x + half_width, y + half_height)
    target_box = Box(-target_width, -target_height, target_width, target_height)
    return pred_box, target_box


def _quarter_side(log_side: Tensor, weight: float) -> Tensor:
    return 0.25 * torch.exp((log_side / weight).clamp(max=SIZE_CLAMP))


def _aspect(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Sides (K,) of the anchors, the longer one 1."""
    x1, y1, x2, y2 = anchors.detach().unbind(1)
    width, height = (x2 - x1).clamp(min=SMALLEST_SPAN), (y2 - y1).clamp(min=SMALLEST_SPAN)
    longer = torch.maximum(width, height)
    # A flat anchor counts as one of a millionth of its longer side.
    return (width / longer).clamp(min=1e-6), (height / longer).clamp(min=1e-6)


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
