"""Distance IoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, total
from smoothiou.losses._base import FramedLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.iou import one_minus_iou


def distance_penalty(pairs: Pairs, even: Array) -> tuple[Array, Array, Array]:
    """Return (rho / c)^2, and its slopes with the shift and with the hull's sides.

    rho is the distance of the centres, c the diagonal of the smallest box around both.
    """
    shift = pairs.shift()
    squares = even * even
    shares = squares / total(squares)  # of c^2: the hull's sides are 1
    pull = shift * shares
    penalty = total(shift * pull)
    return penalty, pull + pull, -(penalty + penalty) * shares


@formula(kernel="diou")
def one_minus_diou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return 1 - DIoU and its slopes."""
    loss, slopes = one_minus_iou(pairs)
    penalty, shift, hull = distance_penalty(pairs, pairs.even())
    return loss + penalty, slopes._replace(shift=shift, hull=hull)


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return 1 - DIoU of boxes (K, 4) xyxy; see `DIoU`."""
    return of_boxes(one_minus_diou, boxes1, boxes2, reduction, symmetric=True)


class DIoU(FramedLoss):
    """Pull the centres together directly, also while boxes do not touch.

        DIoU = IoU - (rho / c)^2,    rho: distance of the centres,  c: diagonal of the smallest box around both

    A distance mixes x and y, so unlike IoU this depends on the frame: in pixels and relative to the anchor it
    differs by up to .07. torchvision, Detectron2 and MMDetection measure in pixels; the authors' Faster R-CNN
    and PaddleDetection relative to the proposal.

    Args:
        frame: `pixels`, which needs anchors and without them takes square ones; or `anchor`: lengths along x
            and y are measured in the anchor's width and height.

    Reference:
        Z. Zheng et al.: Distance-IoU Loss, https://arxiv.org/abs/1911.08287, Eq. 7.
    """

    card = CATALOGUE["diou"]
    measure = staticmethod(one_minus_diou)
