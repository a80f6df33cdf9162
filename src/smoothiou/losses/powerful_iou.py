"""Powerful IoU, one of the two losses called PIoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, at_least, exp, sign, total
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.iou import one_minus_iou

# Sides of a target, as a share of what both boxes span, below which the penalty is flat: exp(-P^2) is 0 long before.
SMALLEST_TARGET = 1e-6


@formula()
def powerful_iou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return the loss and its slopes."""
    iou_loss, slopes = one_minus_iou(pairs)
    low, high = pairs.edges()
    side = at_least(pairs.lengths[1], SMALLEST_TARGET)
    p = total((abs(low) + abs(high)) / side) * 0.25
    away = exp(-(p * p))
    steepness = p * away * 0.25 / side  # half of d(1 - exp(-P^2)) / d|edge|
    per_low, per_high = sign(low) * steepness, sign(high) * steepness
    # An edge moves outward by half of what the side grows, and with the centre or against it.
    shift = per_high - per_low
    return iou_loss + (1 - away), slopes._replace(side=per_low + per_high, shift=shift + shift)


def powerful_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return the Powerful-IoU loss of boxes (K, 4) xyxy; see `PowerfulIoU`."""
    return of_boxes(powerful_iou, boxes1, boxes2, reduction, symmetric=False)


class PowerfulIoU(PairLoss):
    """Measure each edge's distance in sides of the target, which no prediction can make larger.

        L = 1 - IoU + 1 - exp(-P^2),    P = mean of |edge - target edge| / target side, over the four edges

    GIoU to Efficient-IoU divide by the size of the box around both, which a larger prediction makes larger.
    P divides by the target's, so it does not fall when a box that is apart grows about its centre. Its pull is
    strongest at P = .7 and fades for boxes that are far off. Two losses are called PIoU: this one (its first
    version) and Pixels-IoU, for rotated boxes.

    Reference:
        C. Liu et al.: Powerful-IoU, Neural Networks 170, 2024, https://doi.org/10.1016/j.neunet.2023.11.041.
    """

    card = CATALOGUE["powerful-iou"]
    measure = staticmethod(powerful_iou)
