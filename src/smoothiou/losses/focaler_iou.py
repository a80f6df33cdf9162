"""Focaler-IoU: a stretch of IoU, as if it were all of it."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, reduce, require_number
from smoothiou.losses.modifier import ModifiedIoU


def focaler_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, of: str = "iou", low: float = 0.0, high: float = 0.95
) -> Tensor:
    """`FocalerIoU` of boxes (K, 4) xyxy.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        of: the loss X: iou, giou, diou, ciou, siou or efficient-iou.
        low: the authors' d, in [0, 1).
        high: the authors' u, above `low` and at most 1. The copies that we have read have 0 and .95.

    Returns:
        (K,) for `none`, else a scalar; with the defaults the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        H. Zhang, S. Zhang, Focaler-IoU, 2024, https://arxiv.org/abs/2401.10525.
    """
    return reduce(FocalerIoU(of=of, low=low, high=high).on_boxes(boxes1, boxes2), reduction)


class FocalerIoU(ModifiedIoU):
    """Spend the gradient of IoU between two bounds, and none outside them, in any loss of overlap.

        L = L_X + IoU - IoU',    IoU' = (IoU - low) / (high - low), within 0 and 1 (Eq. 2)

    A box whose IoU is above `high` is good enough, one below `low` is left to the other terms of X.

    Args:
        of: the loss X: iou, giou, diou, ciou, siou or efficient-iou.
        low: the authors' d, in [0, 1).
        high: the authors' u, above `low` and at most 1. The copies that we have read have 0 and .95.

    Reference:
        H. Zhang, S. Zhang: Focaler-IoU, https://arxiv.org/abs/2401.10525.
    """

    info = LossInfo(
        name="focaler-iou",
        summary="Overlap between two bounds alone, in any loss of overlap.",
        formula="X + IoU - clamp((IoU - low) / (high - low), 0, 1); X = 1 - IoU, low = 0, high = .95",
        range="[0, 1]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=10.0,
        weight_source="as iou; none is published for two-stage detectors",
        reference="H. Zhang, S. Zhang, Focaler-IoU, 2024, https://arxiv.org/abs/2401.10525",
    )

    def __init__(self, of: str = "iou", low: float = 0.0, high: float = 0.95) -> None:
        super().__init__(of)
        self.low, self.high = (
            require_number(name, value, lambda number: 0 <= number <= 1, "a number from 0 to 1")
            for name, value in (("low", low), ("high", high))
        )
        if self.low >= self.high:
            raise ConfigError(f"high: expected a number above low ({low:g}), got {high!r}.")

    def overlap(self, pred: Box, target: Box) -> Tensor:
        """IoU' (K,): a stretch of IoU."""
        return ((iou_of(pred, target) - self.low) / (self.high - self.low)).clamp(0, 1)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"of={self.of!r}, low={self.low:g}, high={self.high:g}"
