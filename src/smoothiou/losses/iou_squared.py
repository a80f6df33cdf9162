"""The IoU loss of PP-YOLO and YOLOX."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes


def one_minus_iou_squared(pred: Box, target: Box) -> Tensor:
    """1 - IoU^2 (K,) of boxes in one frame."""
    return 1 - iou_of(pred, target) ** 2


def iou_squared_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU^2 of boxes (K, 4) xyxy; see `IoUSquared`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        X. Long et al., PP-YOLO, 2020, https://arxiv.org/abs/2007.12099 (code of PaddleDetection).
    """
    return of_boxes(one_minus_iou_squared, boxes1, boxes2, reduction)


class IoUSquared(OverlapLoss):
    """Pull good boxes twice as hard as 1 - IoU does, and poor ones hardly: 1 - IoU^2.

    The IoU loss of PaddleDetection (by default) and YOLOX; `alpha-iou` with alpha = 2. The gradient is 2 IoU times
    that of 1 - IoU, so a box that barely touches its target barely moves.
    """

    info = LossInfo(
        name="iou-squared",
        summary="Squared overlap, which pulls good boxes twice as hard and poor ones hardly.",
        formula="1 - IoU^2",
        range="[0, 1]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=10.0,
        weight_source="as iou; none is published for two-stage detectors",
        also_called="IouLoss of PaddleDetection, IOUloss of YOLOX",
        reference="X. Long et al., PP-YOLO, 2020, https://arxiv.org/abs/2007.12099 (code of PaddleDetection)",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_iou_squared(pred, target)
