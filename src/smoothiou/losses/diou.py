"""Distance IoU."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes


def one_minus_diou(pred: Box, target: Box) -> Tensor:
    """1 - DIoU (K,) of boxes in one frame."""
    return 1 - iou_of(pred, target) + centre_distance(pred, target, enclosing(pred, target))  # Eq. 7


def centre_distance(pred: Box, target: Box, around: Box) -> Tensor:
    """Squared distance of the centres over the squared diagonal of the enclosing box (Eq. 6)."""
    rho_squared = (pred.x - target.x) ** 2 + (pred.y - target.y) ** 2
    return rho_squared / (around.width**2 + around.height**2)


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - DIoU of boxes (K, 4) xyxy; see `DIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 2].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287.
    """
    return of_boxes(one_minus_diou, boxes1, boxes2, reduction, per_axis=False)


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

    info = LossInfo(
        name="diou",
        summary="Overlap and the distance of the centres.",
        formula="1 - IoU + (distance of centres / diagonal of the enclosing box)^2",
        range="[0, 2]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        weight=12.0,
        weight_source="its authors; PaddleDetection",
        also_called="distance_box_iou_loss of torchvision",
        reference="Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_diou(pred, target)
