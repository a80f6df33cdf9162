"""The plain IoU loss."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE


@formula(kernel="iou")
def one_minus_iou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return 1 - IoU (Eq. 4) and its slopes."""
    iou, slopes = pairs.iou()
    return 1 - iou, slopes.opposite()


def iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return 1 - IoU of boxes (K, 4) xyxy; see `IoU`."""
    return of_boxes(one_minus_iou, boxes1, boxes2, reduction, symmetric=True)


class IoU(PairLoss):
    """Train on the overlap itself: 1 - IoU of the two boxes that the deltas stand for (Eq. 4).

    What is measured is what is trained, and the four codes act together. But boxes that have lost touch with
    their target get no gradient at all, which is what the paper's Smooth IoU repairs.

    IoU is the same relative to an anchor and in pixels, so anchors are not needed. One number in [0, 1]
    stands against Huber's sum of four: detectors that train on it alone weigh it by about 10.

    Some call -ln IoU (`iou-log`; MMDetection's default) or 1 - IoU^2 (`iou-squared`) the IoU loss.
    """

    card = CATALOGUE["iou"]
    measure = staticmethod(one_minus_iou)
