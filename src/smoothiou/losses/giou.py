"""Generalised IoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, reciprocal
from smoothiou.losses._base import PairLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE


@formula(kernel="giou")
def one_minus_giou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return 1 - GIoU and its slopes; areas are shares of the hull's, which is 1."""
    _, intersection, union = pairs.areas()
    iou = intersection / union
    empty = 1 - union  # share of the hull that neither box covers
    per_area = iou / union - 1
    slopes = Slopes(area=per_area, intersection=-(reciprocal(union) + per_area), hull_area=union)
    return 1 - iou + empty, slopes


def giou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return 1 - GIoU of boxes (K, 4) xyxy; see `GIoU`."""
    return of_boxes(one_minus_giou, boxes1, boxes2, reduction, symmetric=True)


class GIoU(PairLoss):
    """Give boxes without overlap a gradient too, through the hole between them.

        GIoU = IoU - (hull - union) / hull,    hull: area of the smallest box around both

    Boxes that are apart first grow towards the target, then move; once one lies inside the other it is plain
    IoU. Like IoU it is the same relative to an anchor and in pixels, and needs no anchors.

    Reference:
        H. Rezatofighi et al.: Generalized Intersection over Union, https://arxiv.org/abs/1902.09630, Alg. 2.
    """

    card = CATALOGUE["giou"]
    measure = staticmethod(one_minus_giou)
