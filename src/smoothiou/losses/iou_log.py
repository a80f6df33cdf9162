"""The IoU loss of UnitBox."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Pairs, Slopes
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE

# The loss of an IoU below this is 13.8, and flat: the logarithm of 0 is no number.
SMALLEST_IOU = 1e-6


def minus_log_iou(pairs: Pairs) -> tuple[Tensor, Slopes]:
    """Return -ln IoU and its slopes."""
    iou, slopes = pairs.iou()
    seen = iou.clamp(min=SMALLEST_IOU)
    steepness = (iou > SMALLEST_IOU) / seen  # d ln IoU / d IoU
    return torch.log(seen).neg(), slopes.scaled(steepness.neg())


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

    def measure(self, pairs: Pairs) -> tuple[Tensor, Slopes]:
        """Return the loss (K,) of pairs, and its slopes."""
        return minus_log_iou(pairs)
