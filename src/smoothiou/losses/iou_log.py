"""The IoU loss of UnitBox."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, at_least, log
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE

# The loss of an IoU below this is 13.8, and flat: the logarithm of 0 is no number.
SMALLEST_IOU = 1e-6


@formula()
def minus_log_iou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return -ln IoU and its slopes."""
    iou, slopes = pairs.iou()
    seen = at_least(iou, SMALLEST_IOU)
    steepness = (iou > SMALLEST_IOU) / seen  # d ln IoU / d IoU
    return -log(seen), slopes.scaled(-steepness)


def iou_log_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return -ln IoU of boxes (K, 4) xyxy; see `IoULog`."""
    return of_boxes(minus_log_iou, boxes1, boxes2, reduction, symmetric=True)


class IoULog(PairLoss):
    """Pull hardest where overlap is smallest: -ln IoU, the IoU loss of UnitBox.

    It reads IoU as the probability of a hit and takes its cross-entropy. The pull is 1 / IoU times that of
    1 - IoU, and stops at an IoU of 1e-6, so boxes without overlap still get no gradient.

    "IoULoss" is this in MMDetection, by default, and in KerasCV (there the logarithm of the mean IoU).

    Reference:
        J. Yu et al.: UnitBox, https://arxiv.org/abs/1608.01471, Eq. 2.
    """

    card = CATALOGUE["iou-log"]
    measure = staticmethod(minus_log_iou)
