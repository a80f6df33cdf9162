"""Generalised IoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, enclosing, intersection_and_union
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes


def one_minus_giou(pred: Box, target: Box) -> Tensor:
    """1 - GIoU (K,) of boxes in one frame."""
    intersection, union = intersection_and_union(pred, target)
    enclosing_area = enclosing(pred, target).area
    return 1 - intersection / union + (enclosing_area - union) / enclosing_area  # Algorithm 2


def giou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - GIoU of boxes (K, 4) xyxy; see `GIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 2].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        H. Rezatofighi et al., Generalized IoU, CVPR 2019, https://arxiv.org/abs/1902.09630.
    """
    return of_boxes(one_minus_giou, boxes1, boxes2, reduction)


class GIoU(OverlapLoss):
    """Give boxes without overlap a gradient too, through the hole between them.

        GIoU = IoU - (C - union) / C,    C: area of the smallest box around both

    Boxes that are disjoint first grow towards the target, then move; once one lies inside the other it is plain
    IoU. Like IoU it is the same relative to an anchor and in pixels, and needs no anchors.

    Reference:
        H. Rezatofighi et al.: Generalized Intersection over Union, https://arxiv.org/abs/1902.09630, Alg. 2.
    """

    info = LossInfo(
        name="giou",
        summary="Overlap minus the hole between the boxes, so that disjoint boxes feel a pull.",
        formula="1 - IoU + (C - union) / C; C = area of the enclosing box",
        range="[0, 2]",
        space="boxes",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="its authors; MMDetection, Detectron2, PaddleDetection",
        also_called="generalized_box_iou_loss of torchvision",
        reference="H. Rezatofighi et al., Generalized IoU, CVPR 2019, https://arxiv.org/abs/1902.09630",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_giou(pred, target)
