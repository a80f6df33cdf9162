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

Boxes are (N, 4) rows of (cx, cy, w, h). A gradient (N, 4) is the direction of *ascent* of the similarity.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class _Edges:
    """Lengths (N, 2) along x and y, and which edges of the prediction lie inside or outside the target's (0 or 1)."""

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        (centre, self.side), (target_centre, target_side) = pred.split(2, dim=1), target.split(2, dim=1)
        self.shift = target_centre - centre
        low, high = centre - self.side / 2, centre + self.side / 2
        target_low, target_high = target_centre - target_side / 2, target_centre + target_side / 2
        self.overlap = torch.minimum(high, target_high) - torch.maximum(low, target_low)  # < 0: apart
        self.enclosing = torch.maximum(high, target_high) - torch.minimum(low, target_low)
        self.inside_low, self.inside_high = (low > target_low).to(pred.dtype), (high < target_high).to(pred.dtype)
        self.outside_low, self.outside_high = (low < target_low).to(pred.dtype), (high > target_high).to(pred.dtype)
        self.areas = self.side.prod(1, keepdim=True) + target_side.prod(1, keepdim=True)
        self.touching = (self.overlap > 0).all(1, keepdim=True)


def similarity(pred: Tensor, target: Tensor) -> Tensor:
    """Return the IoU (N,) of boxes (N, 4) as the published code has it: 0 where they do not overlap."""
    edges = _Edges(pred, target)
    intersection = edges.overlap.clamp(min=0).prod(1, keepdim=True)
    # Where an inverted box makes the union 0 or less, no axis overlaps.
    return torch.where(edges.touching, intersection / (edges.areas - intersection), 0).squeeze(1)


def iou_gradient(pred: Tensor, target: Tensor) -> Tensor:
    """Return the published ascent direction (N, 4) of IoU: exact in x and y, twice as long in w and h."""
    edges = _Edges(pred, target)
    intersection = edges.overlap.prod(1, keepdim=True)
    union = edges.areas - intersection
    # dIoU = (U dI - I dU) / U^2 with dU = dA - dI
    per_union = torch.where(edges.touching & (union > 0), 1 / union, 0)
    iou = intersection * per_union
    along = per_union * (1 + iou) * edges.overlap.flip(1)
    by_centre = along * (edges.inside_high - edges.inside_low)
    by_size = along * (edges.inside_high + edges.inside_low) - 2 * per_union * iou * edges.side.flip(1)
    return torch.cat((by_centre, by_size), dim=1)


def giou_gradient(pred: Tensor, target: Tensor, *, clamped: bool = False) -> Tensor:
    """Return the published ascent direction (N, 4) of GIoU.

    Args:
        pred: (N, 4).
        target: (N, 4).
        clamped: clamp the overlaps of boxes apart at 0 first: departure 2 alone put right.
    """
    edges = _Edges(pred, target)
    overlap = edges.overlap * edges.touching if clamped else edges.overlap
    union = edges.areas - overlap.prod(1, keepdim=True)
    enclosing = edges.enclosing.prod(1, keepdim=True)
    inside_low, inside_high = edges.inside_low * overlap.flip(1), edges.inside_high * overlap.flip(1)
    d_union = torch.cat((inside_low - inside_high, 2 * edges.side.flip(1) - inside_low - inside_high), dim=1)
    outside = (edges.outside_high - edges.outside_low, edges.outside_high + edges.outside_low)
    d_enclosing = torch.cat(outside, dim=1) * edges.enclosing.flip(1).repeat(1, 2)
    # d(U / C) = dU / C - U dC / C^2
    return iou_gradient(pred, target) + d_union / enclosing - d_enclosing * union / enclosing.square()


def diou_gradient(pred: Tensor, target: Tensor, *, aspect: bool = False) -> Tensor:
    """Return the published ascent direction (N, 4) of DIoU.

    Args:
        pred: (N, 4).
        target: (N, 4).
        aspect: add the aspect term of CIoU, without its factor 1 / (w^2 + h^2).
    """
    edges = _Edges(pred, target)
    diagonal = edges.enclosing.square().sum(1, keepdim=True)
    per_side = 2 * edges.shift.square().sum(1, keepdim=True) / diagonal.square()
    both = edges.enclosing.sum(1, keepdim=True) * per_side  # departure 3: each axis gets the other's derivative too
    by_centre = 2 * edges.shift / diagonal - both * (edges.outside_high - edges.outside_low)
    ends = (edges.outside_high + edges.outside_low) / 2
    # Departure 3: -1 in place of 1 along an axis where both ends stand outside.
    by_size = both * ends - 2 * edges.enclosing * per_side * edges.outside_high * edges.outside_low
    if aspect:
        by_size = by_size + _aspect_gradient(pred, target)
    return iou_gradient(pred, target) + torch.cat((by_centre, by_size), dim=1)


def _aspect_gradient(pred: Tensor, target: Tensor) -> Tensor:
    """Return alpha times the derivatives (N, 2) of the aspect term along w and h."""
    # atan(w / h) as the code has it: for an inverted height it jumps, where atan2 would not.
    angle = torch.atan(target[:, 2] / target[:, 3]) - torch.atan(pred[:, 2] / pred[:, 3])
    term = 4 / math.pi**2 * angle.square()
    alpha = term / (1 - similarity(pred, target) + term + 1e-7)
    scale = 8 / math.pi**2 * alpha * angle
    return torch.stack((scale * pred[:, 3], -scale * pred[:, 2]), dim=1)


PUBLISHED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou_gradient,
    "giou": giou_gradient,
    "giou-clamped": functools.partial(giou_gradient, clamped=True),
    "diou": diou_gradient,
    "ciou": functools.partial(diou_gradient, aspect=True),
}
"""The published gradients by the names of the losses; `giou-clamped` is GIoU with departure 2 alone put right."""
