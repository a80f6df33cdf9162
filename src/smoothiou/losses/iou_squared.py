"""The IoU loss of PP-YOLO and YOLOX."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE


@formula()
def one_minus_iou_squared(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return 1 - IoU^2 and its slopes."""
    iou, slopes = pairs.iou()
    return 1 - iou * iou, slopes.scaled(-(iou + iou))


def iou_squared_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return 1 - IoU^2 of boxes (K, 4) xyxy; see `IoUSquared`."""
    return of_boxes(one_minus_iou_squared, boxes1, boxes2, reduction, symmetric=True)


class IoUSquared(PairLoss):
    """Pull good boxes twice as hard as 1 - IoU does, and poor ones hardly: 1 - IoU^2.

    The IoU loss of PaddleDetection (by default) and YOLOX; `alpha-iou` with alpha = 2. The pull is 2 IoU times
    that of 1 - IoU, so a box that barely touches its target barely moves.
    """

    card = CATALOGUE["iou-squared"]
    measure = staticmethod(one_minus_iou_squared)
