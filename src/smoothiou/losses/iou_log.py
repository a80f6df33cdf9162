"""The IoU loss of UnitBox."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes

# The loss of an IoU below this is 13.8, and flat: the logarithm of 0 is no number.
SMALLEST_IOU = 1e-6


def minus_log_iou(pred: Box, target: Box) -> Tensor:
    """-ln IoU (K,) of boxes in one frame."""
    return -iou_of(pred, target).clamp(min=SMALLEST_IOU).log()  # UnitBox, Eq. 2


def iou_log_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """-ln IoU of boxes (K, 4) xyxy; see `IoULog`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 13.816].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471.
    """
    return of_boxes(minus_log_iou, boxes1, boxes2, reduction)


class IoULog(OverlapLoss):
    """Pull hardest where overlap is smallest: -ln IoU, the IoU loss of UnitBox.

    It reads IoU as the probability of a hit and takes its cross-entropy. The gradient is 1 / IoU times that of
    1 - IoU, and stops at an IoU of 1e-6, so boxes without overlap still get none.

    "IoULoss" is this in MMDetection, by default, and in KerasCV (there the logarithm of the mean IoU).

    Reference:
        J. Yu et al.: UnitBox, https://arxiv.org/abs/1608.01471, Eq. 2.
    """

    info = LossInfo(
        name="iou-log",
        summary="The logarithm of the overlap, which pulls hardest where it is smallest.",
        formula="-ln IoU, at most 13.8 (IoU 1e-6)",
        range="[0, 13.816]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=10.0,
        weight_source="MMDetection",
        also_called="IoULoss of MMDetection and KerasCV",
        reference="J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return minus_log_iou(pred, target)
