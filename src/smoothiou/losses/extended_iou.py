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
    area, _, _ = pairs.areas()
    side, target = pairs.lengths[:2].unbind(0)
    low = pairs.edges()[0]
    # Where the intersection starts and ends, from the hull's low edge; it ends first where boxes are apart.
    start = low.abs()
    end = start + side + target - 1
    first, last = torch.minimum(start, end), torch.maximum(start, end)
    apart = end < start
    start_y, end_y, first_y, last_y = (length.flip(0) for length in (start, end, first, last))
    intersection = ((end * end_y + first * first_y) * 0.5 - start * last_y).sum(0)
    per_end = end_y + torch.where(apart, first_y, start_y.neg())
    per_start = torch.where(apart, start_y.neg(), first_y) - last_y

    target_x, target_y = target.unbind(0)
    union = (area + target_x * target_y - intersection).clamp(min=torch.finfo(area.dtype).eps)
    ratio = intersection / union
    z = 1 - ratio
    bent = (z / smooth_point).clamp(max=1)
    per_area = bent * ratio / union
    per_intersection = (bent / union + per_area).neg()
    per_end = per_intersection * per_end
    # The low edge moves outward by half of what the side grows, and against the centre.
    per_edge = (per_intersection * per_start + per_end) * low.sign()
    slopes = Slopes(area=per_area, side=per_edge * 0.5 + per_end, shift=per_edge.neg(), hull=per_end.neg())
    return bent * (z - bent * (0.5 * smooth_point)), slopes


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
