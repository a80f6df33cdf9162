"""Bounded IoU."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, at_least, at_most, larger, rows, sign, total
from smoothiou.losses._base import PairLoss, of_boxes, require_positive
from smoothiou.losses.catalogue import CATALOGUE

# Sides, as a share of what both boxes span, below which slopes stop growing.
SMALLEST_SIDE = 1e-6


@formula()
def bounded_iou(pairs: Pairs, *, beta: float) -> tuple[Array, Slopes]:
    """Return the loss and its slopes."""
    side, target = rows(pairs.lengths[:2])
    centre = pairs.shift()
    twice = abs(centre + centre)
    # 1 - best IoU of a box that is right but for its centre: 1 - (t - 2 |dx|) / (t + 2 |dx|), at most 1.
    reach = at_least(target + twice, SMALLEST_SIDE)
    near = twice < target
    of_centre = at_most((twice + twice) / reach, 1)
    centre_slope = near * (4 * target) / (reach * reach) * sign(centre)
    # The same of a box that is right but for its size: 1 - smaller side / larger side.
    longer = at_least(larger(side, target), SMALLEST_SIDE)
    excess = side - target
    of_size = abs(excess) / longer
    size_slope = sign(excess) * target / (longer * longer)
    centre_loss, centre_bent = _smooth_l1(of_centre, beta)
    size_loss, size_bent = _smooth_l1(of_size, beta)
    return total(centre_loss + size_loss), Slopes(shift=centre_bent * centre_slope, side=size_bent * size_slope)


def _smooth_l1(z: Array, beta: float) -> tuple[Array, Array]:
    bent = at_most(z / beta, 1)
    return bent * (z - bent * (0.5 * beta)), bent


def bounded_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, beta: float = 0.2) -> Tensor:
    """Return the Bounded-IoU loss of boxes (K, 4) xyxy; see `BoundedIoU`."""
    measure = partial(bounded_iou, beta=require_positive("beta", beta))
    return of_boxes(measure, boxes1, boxes2, reduction, symmetric=False)


class BoundedIoU(PairLoss):
    """Treat centre and size one by one, like smooth L1, but each by the IoU that it alone makes impossible.

    For each of x, y, w, h: the best IoU that a box with this x (this w, ...) can still reach, B, and

        L = sum over the four of smooth L1(1 - B)
        B of x: (t - 2 |dx|) / (t + 2 |dx|), at least 0      B of w: min(w / t, t / w)      t: the target's width

    So it stands between the losses of codes and those of overlap. Its centre terms are flat where the centre is
    outside the middle half of the target's span; its size terms never are.

    Args:
        beta: where the parabola of smooth L1 ends, above 0; MMDetection has .2.

    Reference:
        L. Tychsen-Smith, L. Petersson: Improving Object Localization with Fitness NMS and Bounded IoU Loss,
        https://arxiv.org/abs/1711.00164, section 4.
    """

    card = CATALOGUE["bounded-iou"]

    def __init__(self, beta: float = 0.2) -> None:
        super().__init__()
        self.beta = require_positive("beta", beta)
        self.measure = partial(bounded_iou, beta=self.beta)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"beta={self.beta:g}"
