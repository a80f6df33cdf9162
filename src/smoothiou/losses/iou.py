"""The plain IoU loss."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes


def one_minus_iou(pred: Box, target: Box) -> Tensor:
    """1 - IoU (K,) of boxes in one frame."""
    return 1 - iou_of(pred, target)  # Eq. 4


def iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU of boxes (K, 4) xyxy; see `IoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471 (there as -ln IoU).
    """
    return of_boxes(one_minus_iou, boxes1, boxes2, reduction)


class IoU(OverlapLoss):
    """Train on the overlap itself: 1 - IoU of the two boxes that the deltas stand for (Eq. 4).

    What is measured is what is trained, and the four deltas act together. But boxes that do not touch their target
    get no gradient at all, which is what the paper's Smooth IoU repairs.

    IoU is the same relative to an anchor and in pixels, so anchors are not needed. One number in [0, 1]
    stands against Huber's sum of four: detectors that train on it alone weigh it by about 10.

    Some call -ln IoU (`iou-log`; MMDetection's default) or 1 - IoU^2 (`iou-squared`) the IoU loss.
    """

    info = LossInfo(
        name="iou",
        summary="The overlap itself; no gradient once the boxes have lost touch.",
        formula="1 - IoU",
        range="[0, 1]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=10.0,
        weight_source="the authors of GIoU; MMDetection",
        also_called="linear IoU loss; 'IoU loss' may also mean iou-log or iou-squared",
        reference="J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471 (there as -ln IoU)",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_iou(pred, target)
