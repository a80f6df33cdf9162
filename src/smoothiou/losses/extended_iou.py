"""Extended IoU, one of the two losses called EIoU."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from smoothiou.boxes import Pairs, Slopes
from smoothiou.losses._base import PairLoss, of_boxes, require_positive
from smoothiou.losses.catalogue import CATALOGUE


def extended_iou(pairs: Pairs, *, smooth_point: float) -> tuple[Tensor, Slopes]:
    """Return the loss and its slopes; lengths are shares of the hull's sides, which are 1."""
    # Where the intersection starts and ends, from the hull's low edge; it ends first where boxes are apart.
    start = pairs.edges[0].abs()
    end = start + pairs.side + pairs.target_side - 1
    apart = end < start
    first, last = torch.where(apart, end, start), torch.where(apart, start, end)
    rectangles = end * end.flip(0) + first * first.flip(0)
    intersection = 0.5 * (rectangles.sum(0)) - (start * last.flip(0)).sum(0)
    per_end = end.flip(0) + apart * first.flip(0) - ~apart * start.flip(0)
    per_start = ~apart * first.flip(0) - last.flip(0) - apart * start.flip(0)

    side_x, side_y = pairs.side.unbind(0)
    target_x, target_y = pairs.target_side.unbind(0)
    union = (side_x * side_y + target_x * target_y - intersection).clamp(min=torch.finfo(start.dtype).eps)
    ratio = intersection / union
    z = 1 - ratio
    bent = (z / smooth_point).clamp(max=1)
    per_area = bent * ratio / union
    per_intersection = -(bent / union + per_area)
    per_end = per_intersection * per_end
    # The low edge moves outward by half of what the side grows, and against the centre.
    per_edge = (per_intersection * per_start + per_end) * pairs.edges[0].sign()
    slopes = Slopes(area=per_area, side=0.5 * per_edge + per_end, shift=-per_edge, hull=-per_end)
    return bent * (z - 0.5 * smooth_point * bent), slopes


def extended_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, smooth_point: float = 0.1) -> Tensor:
    """Return the Extended-IoU loss of boxes (K, 4) xyxy; see `ExtendedIoU`."""
    measure = partial(extended_iou, smooth_point=require_positive("smooth_point", smooth_point))
    return of_boxes(measure, boxes1, boxes2, reduction, symmetric=True)


class ExtendedIoU(PairLoss):
    """Let the intersection become negative where boxes are apart, and round the tip of 1 - IoU.

        z = 1 - I / (area + target area - I)
        L = z^2 / (2 p) if z < p, else z - p / 2

    I is the area of the intersection where there is one. Beyond, it goes on below 0 as the published code has
    it: with start and end of the intersection along each axis, counted from the low edge of the smallest box
    around both. So the loss of boxes that are apart along one axis changes a little when they are mirrored
    along the other. Two losses are called EIoU: this one (MMDetection's `EIoULoss`) and `efficient-iou`.

    Args:
        smooth_point: p, below which z counts squared, above 0.

    Reference:
        H. Peng, S. Yu: A Systematic IoU-Related Method, https://arxiv.org/abs/2112.01793.
    """

    card = CATALOGUE["extended-iou"]

    def __init__(self, smooth_point: float = 0.1) -> None:
        super().__init__()
        self.smooth_point = require_positive("smooth_point", smooth_point)

    def measure(self, pairs: Pairs) -> tuple[Tensor, Slopes]:
        """Return the loss (K,) of pairs, and its slopes."""
        return extended_iou(pairs, smooth_point=self.smooth_point)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"smooth_point={self.smooth_point:g}"
