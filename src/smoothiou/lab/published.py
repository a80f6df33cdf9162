"""What the DIoU paper's published simulation code computes in place of the gradients of the losses it names.

The code (github.com/Zzh-tju/DIoU, folder `simulation experiment`) derives by hand, and departs from the derivatives
of IoU, GIoU, DIoU and CIoU in four ways. Here the same formulas stand again, for all boxes at once:

1. The steps in width and height lack a factor 1/2: with right = x + w/2 the derivative along w is
   (d/dright - d/dleft) / 2, the code takes d/dright - d/dleft. This doubles the steps of the IoU and GIoU parts.
2. GIoU of boxes apart: the overlaps of the two axes are not clamped at 0, so where both are negative their
   product, a positive number, counts as an intersection.
3. DIoU and CIoU: the enclosing diagonal's derivative along x and y has the wrong sign, each side of the
   enclosing box gets the derivative along the other axis too, and where a prediction encloses its target along
   an axis the derivative of that side is set to -1 (it is 1).
4. CIoU leaves the factor 1 / (w^2 + h^2) of the aspect term out; the paper says so.

Boxes are (x, y, w, h) in rows: (4, K). A gradient is the direction of *ascent* of the similarity.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Published = Callable[[Tensor, Tensor], Tensor]


@dataclass(slots=True)
class _Axis:
    """Both boxes along one axis: sides, common length, length of the hull, and which ends stand inside or outside."""

    side: Tensor
    target_side: Tensor
    overlap: Tensor
    hull: Tensor
    inside_first: Tensor
    inside_last: Tensor
    outside_first: Tensor
    outside_last: Tensor


def _axis(centre: Tensor, side: Tensor, target_centre: Tensor, target_side: Tensor) -> _Axis:
    half, target_half = 0.5 * side, 0.5 * target_side
    first, last = centre - half, centre + half
    target_first, target_last = target_centre - target_half, target_centre + target_half
    kind = side.dtype
    return _Axis(
        side,
        target_side,
        torch.minimum(last, target_last) - torch.maximum(first, target_first),
        torch.maximum(last, target_last) - torch.minimum(first, target_first),
        (first > target_first).to(kind),
        (last < target_last).to(kind),
        (first < target_first).to(kind),
        (last > target_last).to(kind),
    )


def _axes(pred: Tensor, target: Tensor) -> tuple[_Axis, _Axis]:
    return _axis(pred[0], pred[2], target[0], target[2]), _axis(pred[1], pred[3], target[1], target[3])


def similarity(pred: Tensor, target: Tensor) -> Tensor:
    """Return the IoU (K,) of boxes (4, K) as the published code has it: 0 where they do not overlap."""
    overlap_x = _common(pred[0], pred[2], target[0], target[2])
    overlap_y = _common(pred[1], pred[3], target[1], target[3])
    intersection = overlap_x.mul_(overlap_y)
    union = (pred[2] * pred[3]).addcmul_(target[2], target[3]).sub_(intersection)
    # Where an inverted box makes the union 0 or less, no axis overlaps, and 0 over anything else is 0.
    return intersection.div_(union.masked_fill_(intersection == 0, 1))


def _common(centre: Tensor, side: Tensor, target_centre: Tensor, target_side: Tensor) -> Tensor:
    first = torch.maximum(centre - 0.5 * side, target_centre - 0.5 * target_side)
    return torch.minimum(centre + 0.5 * side, target_centre + 0.5 * target_side).sub_(first).clamp_(min=0)


def iou_gradient(pred: Tensor, target: Tensor) -> Tensor:
    """Return the published ascent direction (4, K) of IoU: exact in x and y, twice as long in w and h."""
    x, y = _axes(pred, target)
    return torch.stack(_iou_part(x, y))


def giou_gradient(pred: Tensor, target: Tensor, *, clamped: bool = False) -> Tensor:
    """Return the published ascent direction (4, K) of GIoU.

    Args:
        pred: (4, K).
        target: (4, K).
        clamped: whether the overlaps of boxes apart are clamped at 0 first: departure 2 alone put right.
    """
    x, y = _axes(pred, target)
    own = _iou_part(x, y)
    if clamped:
        touching = ((x.overlap > 0) & (y.overlap > 0)).to(pred.dtype)
        overlap_x, overlap_y = x.overlap * touching, y.overlap * touching
    else:
        overlap_x, overlap_y = x.overlap, y.overlap
    union = x.side * y.side + x.target_side * y.target_side - overlap_x * overlap_y
    hull = x.hull * y.hull
    # d(U / C) = dU / C - U dC / C^2
    by_hull = 1 / hull
    by_hull_twice = union * by_hull * by_hull
    rest = (
        _hull_part(x.inside_last - x.inside_first, x.outside_last - x.outside_first, 0, overlap_y, y.hull),
        _hull_part(y.inside_last - y.inside_first, y.outside_last - y.outside_first, 0, overlap_x, x.hull),
        _hull_part(x.inside_last + x.inside_first, x.outside_last + x.outside_first, 2 * y.side, overlap_y, y.hull),
        _hull_part(y.inside_last + y.inside_first, y.outside_last + y.outside_first, 2 * x.side, overlap_x, x.hull),
    )
    parts = [iou + d_union * by_hull - d_hull * by_hull_twice for iou, (d_union, d_hull) in zip(own, rest, strict=True)]
    return torch.stack(parts)


def _hull_part(
    inside: Tensor, outside: Tensor, d_area: Tensor | int, other_overlap: Tensor, other_hull: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of union and hull along one number, from the sums over the two ends."""
    return d_area - inside * other_overlap, outside * other_hull


def diou_gradient(pred: Tensor, target: Tensor, *, aspect: bool = False) -> Tensor:
    """Return the published ascent direction (4, K) of DIoU.

    Args:
        pred: (4, K).
        target: (4, K).
        aspect: whether the aspect term of CIoU is added, without its factor 1 / (w^2 + h^2).
    """
    x, y = _axes(pred, target)
    parts = list(_iou_part(x, y))
    diagonal = x.hull.square() + y.hull.square()
    shift_x, shift_y = target[0] - pred[0], target[1] - pred[1]
    by_diagonal = 2 / diagonal
    pull = (shift_x.square() + shift_y.square()) * by_diagonal / diagonal  # 2 d / D^2
    both = (x.hull + y.hull) * pull
    parts[0] = parts[0] + shift_x * by_diagonal - both * (x.outside_last - x.outside_first)
    parts[1] = parts[1] + shift_y * by_diagonal - both * (y.outside_last - y.outside_first)
    for place, own in ((2, x), (3, y)):
        ends = 0.5 * (own.outside_last + own.outside_first)
        # Departure 3: -1 in place of 1 for the own axis where both ends stand outside.
        turned = 2 * own.outside_last * own.outside_first
        parts[place] = parts[place] + both * ends - own.hull * pull * turned
    if aspect:
        for place, term in zip((2, 3), _aspect_part(pred, target), strict=True):
            parts[place] = parts[place] + term
    return torch.stack(parts)


def _aspect_part(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha times the derivatives of the aspect term along w and h."""
    # atan(w / h) as the code has it: for an inverted height it jumps, where atan2 would not.
    angle = torch.atan(target[2] / target[3]) - torch.atan(pred[2] / pred[3])
    term = 4 / math.pi**2 * angle.square()
    alpha = term / (1 - similarity(pred, target) + term + 1e-7)
    scaled = 8 / math.pi**2 * alpha * angle
    return scaled * pred[3], -scaled * pred[2]


def _iou_part(x: _Axis, y: _Axis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the code's derivatives of IoU along x, y, w and h; 0 where boxes do not overlap."""
    intersection = x.overlap * y.overlap
    union = x.side * y.side + x.target_side * y.target_side - intersection
    touching = (x.overlap > 0) & (y.overlap > 0) & (union > 0)
    # dIoU = (U dI - I dU) / U^2 with dU = dA - dI
    by_union = torch.where(touching, 1 / union, 0)
    iou = intersection * by_union
    of_intersection, of_area = by_union * (1 + iou), 2 * by_union * iou
    along_x, along_y = of_intersection * y.overlap, of_intersection * x.overlap
    return (
        along_x * (x.inside_last - x.inside_first),
        along_y * (y.inside_last - y.inside_first),
        along_x * (x.inside_last + x.inside_first) - of_area * y.side,
        along_y * (y.inside_last + y.inside_first) - of_area * x.side,
    )


PUBLISHED: dict[str, Published] = {
    "iou": iou_gradient,
    "giou": giou_gradient,
    "giou-clamped": functools.partial(giou_gradient, clamped=True),
    "diou": diou_gradient,
    "ciou": functools.partial(diou_gradient, aspect=True),
}
"""The published gradients by the names of the losses; `giou-clamped` is GIoU with departure 2 alone put right."""
