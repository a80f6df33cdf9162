"""Efficient IoU, one of the two losses called EIoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, rows, total
from smoothiou.losses._base import FramedLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.diou import one_minus_diou


@formula(kernel="efficient-iou")
def one_minus_efficient_iou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return the loss and its slopes; lengths are shares of the hull's sides, which are 1."""
    value, slopes = one_minus_diou(pairs)
    assert slopes.hull is not None
    side, target, _, _ = rows(pairs.lengths)
    excess = side - target
    squares = excess * excess
    hull = slopes.hull - (squares + squares)
    return value + total(squares), slopes._replace(side=excess + excess, hull=hull)


def efficient_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return the Efficient-IoU loss of boxes (K, 4) xyxy; see `EfficientIoU`."""
    return of_boxes(one_minus_efficient_iou, boxes1, boxes2, reduction, symmetric=True)


class EfficientIoU(FramedLoss):
    """Pull widths and heights to the target's one by one, where CIoU pulls only their ratio.

        L = 1 - IoU + (rho / c)^2 + (w - target w)^2 / C_w^2 + (h - target h)^2 / C_h^2

    C_w and C_h are the sides of the smallest box around both, c its diagonal. Two losses are called EIoU: this
    one and `extended-iou`. The authors' Focal-EIoU weighs it by IoU^0.5 besides.

    Args:
        frame: as in `DIoU`.

    Reference:
        Y. Zhang et al.: Focal and Efficient IOU Loss, https://arxiv.org/abs/2101.08158, Eq. 6.
    """

    card = CATALOGUE["efficient-iou"]
    measure = staticmethod(one_minus_efficient_iou)
