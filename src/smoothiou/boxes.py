"""All box geometry: corners, deltas, areas and overlaps of aligned pairs. The one place a box formula stands.

K is the number of pairs. A box is `xyxy` = (x1, y1, x2, y2) unless a name says otherwise. *Deltas* are the
codes that a detector predicts: (dx, dy, dw, dh) of a box relative to an anchor, times four weights.

Everything is computed in float32, also when half precision comes in; float64 stays float64. Nothing here
waits for the device, and no formula divides by zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothiou.errors import ConfigError, did_you_mean

Weights = tuple[float, float, float, float]

BOX_FORMATS = ("xyxy", "yxhw", "cxcywh", "xywh")
CODE_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Factors on (dx, dy, dw, dh) in Faster R-CNN; torchvision's region proposal network has (1, 1, 1, 1)."""

# Decoded sides stop at 1000 / 16 anchor sides (a 16 px anchor becomes a 1000 px box), as in torchvision and
# Detectron: exp() of an untrained output would overflow.
SIZE_CLAMP = math.log(1000.0 / 16)

LARGEST_SIDE = 1e37
SMALLEST_AREA = 1e-30


def in_float(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32, because areas of half precision boxes overflow at 256 pixels."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def smallest_side(dtype: torch.dtype) -> float:
    """Return the side from which on boxes have an IoU whose gradient, up to 8 / side, is a number of this type.

    For float16 that is 0.0001, for float32 and bfloat16 2e-38.
    """
    return 8 / torch.finfo(dtype if dtype.is_floating_point else torch.float32).max


def to_xyxy(boxes: Tensor, *, box_format: str) -> Tensor:
    """Return corners (x1, y1, x2, y2) of boxes in another format.

    Args:
        boxes: (K, 4).
        box_format: `xyxy`; `yxhw` = (y1, x1, height, width), the rows of the paper's Algorithm 1;
            `cxcywh` = centre and size; `xywh` = first corner and size, as COCO files have it.

    Raises:
        ConfigError: no such format.
    """
    if box_format == "xyxy":
        return boxes
    a, b, c, d = boxes.unbind(-1)
    if box_format == "yxhw":
        return torch.stack((b, a, b + d, a + c), -1)
    if box_format == "xywh":
        return torch.stack((a, b, a + c, b + d), -1)
    if box_format == "cxcywh":
        return torch.stack((a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d), -1)
    hint = did_you_mean(box_format, BOX_FORMATS)
    raise ConfigError(f"box_format: no format is called {box_format!r}.", hint=hint)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (K,) of boxes (K, 4); a box with x2 < x1 or y2 < y1 has none."""
    sides = _sides(in_float(boxes))
    return sides[:, 0] * sides[:, 1]


def aligned_iou(a: Tensor, b: Tensor, *, gradient_dtype: torch.dtype | None = None) -> Tensor:
    """Return the overlap of row k of `a` with row k of `b` as a share of their union (Eq. 4, 5).

        IoU = intersection / (area_a + area_b - intersection)

    Value and gradient are finite for every pair whose corners are. Equal boxes have IoU 1 and gradient 0,
    also when they have no area; an inverted box, or one without area, overlaps nothing else. A pair has no
    area either where both its widths or both its heights are below `smallest_side`: the gradient, which is
    about 1 / side, would be infinite.

    Args:
        a: (K, 4) boxes.
        b: (K, 4) boxes.
        gradient_dtype: where the boxes were cast before, the type that their gradient ends in.

    Returns:
        (K,) in [0, 1].
    """
    smallest = smallest_side(gradient_dtype or a.dtype)
    a, b = in_float(a), in_float(b)
    sides_a, sides_b = _sides(a), _sides(b)
    overlap = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    overlap = overlap.clamp(min=0, max=LARGEST_SIDE)
    # IoU does not change when an axis is scaled. With the longer side of each axis as its unit no area can
    # overflow or vanish; the unit is a constant to autograd, for the same reason.
    unit = torch.maximum(sides_a, sides_b).detach()
    unit = unit.masked_fill(unit < smallest, LARGEST_SIDE)
    width_a, height_a = (sides_a / unit).unbind(-1)
    width_b, height_b = (sides_b / unit).unbind(-1)
    overlap_x, overlap_y = (overlap / unit).unbind(-1)
    # In these units a union below eps means a flat box across a thin one, whose IoU is below eps too.
    return _iou_of_areas(
        width_a * height_a,
        width_b * height_b,
        overlap_x * overlap_y,
        equal=(a == b).all(-1),
        smallest_union=torch.finfo(a.dtype).eps,
    )


def deltas_iou(a: Tensor, b: Tensor, *, weights: Weights = CODE_WEIGHTS) -> Tensor:
    """Return the IoU of the boxes that pairs of deltas stand for, whatever their common anchor is.

    A box relative to its anchor is the box in pixels, shifted and scaled along each axis, and IoU does not
    change under that. So no anchor is needed, and numbers stay near 1. Only differences of centres enter,
    which keeps far-off pairs exact. Finite as `aligned_iou` is; equal deltas have IoU 1 and gradient 0;
    boxes with less than 1e-30 of the anchor's area count as having none.

    Args:
        a: (K, 4) deltas.
        b: (K, 4) deltas relative to the same anchors.
        weights: factors that the deltas were multiplied by.

    Returns:
        (K,) in [0, 1].
    """
    a, b = in_float(a), in_float(b)
    weight_x, weight_y, weight_w, weight_h = weights
    x_a, y_a, log_width_a, log_height_a = a.unbind(-1)
    x_b, y_b, log_width_b, log_height_b = b.unbind(-1)
    width_a, width_b = _side(log_width_a, weight_w), _side(log_width_b, weight_w)
    height_a, height_b = _side(log_height_a, weight_h), _side(log_height_b, weight_h)
    overlap_x = _overlap((x_a - x_b) / weight_x, width_a, width_b)
    overlap_y = _overlap((y_a - y_b) / weight_y, height_a, height_b)
    return _iou_of_areas(
        width_a * height_a,
        width_b * height_b,
        overlap_x * overlap_y,
        equal=(a == b).all(-1),
        smallest_union=SMALLEST_AREA,
    )


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


def _sides(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0, max=LARGEST_SIDE)


def _side(log_side: Tensor, weight: float) -> Tensor:
    return torch.exp((log_side / weight).clamp(max=SIZE_CLAMP))


def _overlap(distance: Tensor, side_a: Tensor, side_b: Tensor) -> Tensor:
    """Return the common length of two intervals with these sides and this distance between their centres."""
    reach = 0.5 * (side_a + side_b) - distance.abs()
    return torch.minimum(torch.minimum(side_a, side_b), reach).clamp(min=0)


def _iou_of_areas(
    area_a: Tensor, area_b: Tensor, intersection: Tensor, *, equal: Tensor, smallest_union: float
) -> Tensor:
    # No clamp is needed for IoU <= 1: neither area is below the intersection, so their rounded sum is not below
    # twice the intersection, which is a number without rounding.
    union = area_a + area_b - intersection
    iou = intersection / union.clamp(min=smallest_union)
    # 1 - IoU is a cone whose tip lies at equality; of its subgradients there we take 0.
    return iou.masked_fill(equal, 1.0)


def _decode(
    deltas: Tensor,
    weights: Weights,
    centre: tuple[Tensor | float, Tensor | float],
    size: tuple[Tensor | float, Tensor | float],
) -> Tensor:
    weight_x, weight_y, weight_w, weight_h = weights
    dx, dy, log_width, log_height = deltas.unbind(-1)
    x, y = dx / weight_x * size[0] + centre[0], dy / weight_y * size[1] + centre[1]
    half_width = 0.5 * (_side(log_width, weight_w) * size[0])
    half_height = 0.5 * (_side(log_height, weight_h) * size[1])
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), -1)
