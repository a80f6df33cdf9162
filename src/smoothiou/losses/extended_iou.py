"""Extended IoU, one of the two losses called EIoU."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import (
    Array,
    at_least,
    at_most,
    larger,
    rounding,
    rows,
    sign,
    smaller,
    swapped,
    total,
    where,
)
from smoothiou.losses._base import PairLoss, of_boxes, require_positive
from smoothiou.losses.catalogue import CATALOGUE


@formula()
def extended_iou(pairs: Pairs, *, smooth_point: float) -> tuple[Array, Slopes]:
    """Return the loss and its slopes; lengths are shares of the hull's sides, which are 1."""
    area, _, _ = pairs.areas()
    side, target = rows(pairs.lengths[:2])
    low = pairs.edges()[0]
    # Where the intersection starts and ends, from the hull's low edge; it ends first where boxes are apart.
    start = abs(low)
    end = start + side + target - 1
    first, last = smaller(start, end), larger(start, end)
    apart = end < start
    start_y, end_y, first_y, last_y = (swapped(length, 0) for length in (start, end, first, last))
    intersection = total((end * end_y + first * first_y) * 0.5 - start * last_y)
    per_end = end_y + where(apart, first_y, -start_y)
    per_start = where(apart, -start_y, first_y) - last_y

    target_x, target_y = rows(target)
    union = at_least(area + target_x * target_y - intersection, rounding(area))
    ratio = intersection / union
    z = 1 - ratio
    bent = at_most(z / smooth_point, 1)
    per_area = bent * ratio / union
    per_intersection = -(bent / union + per_area)
    per_end = per_intersection * per_end
    # The low edge moves outward by half of what the side grows, and against the centre.
    per_edge = (per_intersection * per_start + per_end) * sign(low)
    slopes = Slopes(area=per_area, side=per_edge * 0.5 + per_end, shift=-per_edge, hull=-per_end)
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
        self.measure = partial(extended_iou, smooth_point=self.smooth_point)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"smooth_point={self.smooth_point:g}"
