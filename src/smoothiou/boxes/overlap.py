"""How much two boxes overlap, row k of one tensor with row k of another; finite for all finite boxes.

Every formula of overlap is computed in the frame of the pair's own enclosing box, so no product overflows and no
division meets 0. A loss that does not change when both boxes are shifted and scaled alike has exact derivatives of
every order with a frame that is a constant to autograd.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_SPAN = 1e-30
"""Boxes that span less than this along an axis are compared along the other one: a slope of 1 / span overflows."""
SMALLEST_SIDE = 2.0**-23
"""Least side of a box, in sides of the enclosing box; a power of two, by which equal flat boxes have IoU 1 exactly."""

LARGEST_UNIT = 1e30
"""Pixels per unit of a frame, at most: losses in pixels stay finite."""


class Box(NamedTuple):
    """K boxes, column by column, each (K,). Compiled code is ten times faster on columns than on stacked corners."""

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor

    @property
    def width(self) -> Tensor:
        """x2 - x1."""
        return self.x2 - self.x1

    @property
    def height(self) -> Tensor:
        """y2 - y1."""
        return self.y2 - self.y1

    @property
    def area(self) -> Tensor:
        """Width times height."""
        return self.width * self.height

    @property
    def x(self) -> Tensor:
        """Centre, horizontally."""
        return 0.5 * (self.x1 + self.x2)

    @property
    def y(self) -> Tensor:
        """Centre, vertically."""
        return 0.5 * (self.y1 + self.y2)


def aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of row k of `a` with row k of `b` (Eq. 4, 5).

        IoU = intersection / (area_a + area_b - intersection)

    Value and gradient are finite for all finite boxes. Equal boxes have IoU 1 and gradient 0, also without area;
    an inverted box, or one without area, overlaps nothing else.

    Args:
        a: (K, 4) boxes xyxy.
        b: (K, 4) boxes xyxy.

    Returns:
        (K,) in [0, 1], in float32 (float64 for float64 boxes).
    """
    return iou_of(*box_pair(*in_one_type(a, b)))


def box_pair(pred: Tensor, target: Tensor, *, per_axis: bool = True) -> tuple[Box, Box]:
    """Boxes (K, 4) xyxy as columns in the frame of their enclosing box.

    Args:
        pred: (K, 4) xyxy, in any unit.
        target: (K, 4) xyxy, row by row.
        per_axis: as in `in_one_frame`.
    """
    # Halved, so that no difference of two coordinates overflows; the frame cancels the factor.
    pred_box, target_box = (Box(*(0.5 * rows).unbind(1)) for rows in (pred, target))
    return in_one_frame(pred_box, target_box, per_axis=per_axis)


def box_pair_in_pixels(pred: Tensor, target: Tensor) -> tuple[Box, Box, Tensor]:
    """Boxes (K, 4) as `box_pair` with one factor for both axes, and pixels per unit of their frame (K,), a constant.

    Args:
        pred: (K, 4) xyxy in pixels.
        target: (K, 4) xyxy in pixels, row by row.
    """
    pred_box, target_box = (Box(*(0.5 * rows).unbind(1)) for rows in (pred, target))
    unit = 2 * longest_span(pred_box, target_box).clamp(max=0.5 * LARGEST_UNIT)
    return *in_one_frame(pred_box, target_box, per_axis=False), unit


def longest_span(a: Box, b: Box) -> Tensor:
    """The longer side (K,) of the enclosing boxes, to which frames of one factor are scaled; a constant to autograd."""
    longer = torch.maximum(_span(a.x1, a.x2, b.x1, b.x2)[1], _span(a.y1, a.y2, b.y1, b.y2)[1])
    return torch.where(longer < SMALLEST_SPAN, 1.0, longer)


def in_one_frame(a: Box, b: Box, *, per_axis: bool) -> tuple[Box, Box]:
    """Move and scale both boxes so that their enclosing box begins at 0 and has sides of 1.

    Args:
        a: K boxes.
        b: K boxes.
        per_axis: scale x and y each by its own side, which IoU and GIoU do not notice; else both by the longer
            side, as distances and aspect ratios need it.
    """
    left, width = _span(a.x1, a.x2, b.x1, b.x2)
    top, height = _span(a.y1, a.y2, b.y1, b.y2)
    if not per_axis:
        width = height = torch.maximum(width, height)
    width, height = (torch.where(side < SMALLEST_SPAN, 1.0, side) for side in (width, height))  # NaN stays NaN
    return _rescaled(a, left, top, width, height), _rescaled(b, left, top, width, height)


def _span(*edges: Tensor) -> tuple[Tensor, Tensor]:
    a1, a2, b1, b2 = (edge.detach() for edge in edges)
    start = torch.minimum(torch.minimum(a1, a2), torch.minimum(b1, b2))
    return start, torch.maximum(torch.maximum(a1, a2), torch.maximum(b1, b2)) - start


def _rescaled(box: Box, left: Tensor, top: Tensor, width: Tensor, height: Tensor) -> Box:
    x1, y1 = (box.x1 - left) / width, (box.y1 - top) / height
    x2, y2 = (box.x2 - left) / width, (box.y2 - top) / height
    return Box(x1, y1, x1 + (x2 - x1).clamp(min=SMALLEST_SIDE), y1 + (y2 - y1).clamp(min=SMALLEST_SIDE))


def intersection_and_union(a: Box, b: Box) -> tuple[Tensor, Tensor]:
    """Areas (K,) of what both boxes cover and of what either covers (Eq. 5).

    Args:
        a, b: boxes of one frame as columns (`Box`), each (K,).
    """
    # At equal edges minimum and maximum share the gradient in halves, and relu is flat at 0 where clamp is not:
    # so equal boxes have gradient 0, and boxes that touch are not pulled.
    width = torch.relu(torch.minimum(a.x2, b.x2) - torch.maximum(a.x1, b.x1))
    height = torch.relu(torch.minimum(a.y2, b.y2) - torch.maximum(a.y1, b.y1))
    intersection = width * height
    return intersection, a.area + b.area - intersection


def iou_of(a: Box, b: Box) -> Tensor:
    """IoU (K,) of boxes in one frame (Eq. 4).

    Args:
        a, b: boxes of one frame as columns (`Box`), each (K,).
    """
    intersection, union = intersection_and_union(a, b)
    return intersection / union


def enclosing(a: Box, b: Box) -> Box:
    """Smallest box around both.

    Args:
        a, b: boxes of one frame as columns (`Box`), each (K,).
    """
    return Box(
        torch.minimum(a.x1, b.x1), torch.minimum(a.y1, b.y1), torch.maximum(a.x2, b.x2), torch.maximum(a.y2, b.y2)
    )


def in_float(tensor: Tensor) -> Tensor:
    """Cast to at least float32: in half precision, areas overflow at 256 pixels.

    Args:
        tensor: of any floating point type.
    """
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_one_type(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Cast both tensors to the wider of their types, which is at least float32.

    Args:
        a, b: of any floating point types.
    """
    a, b = in_float(a), in_float(b)
    if a.dtype == b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)
