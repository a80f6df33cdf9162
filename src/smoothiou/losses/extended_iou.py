"""Extended IoU, one of the two losses called EIoU."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from smoothiou.boxes import Box, enclosing
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes, require_positive


def extended_iou(pred: Box, target: Box, *, smooth_point: float) -> Tensor:
    """Extended-IoU loss (K,) of boxes in one frame, as in the published code."""
    around = enclosing(pred, target)
    x1, y1 = torch.maximum(pred.x1, target.x1), torch.maximum(pred.y1, target.y1)
    width, height = torch.minimum(pred.x2, target.x2) - x1, torch.minimum(pred.y2, target.y2) - y1
    gap_x, gap_y = width.clamp(max=0), height.clamp(max=0)  # below 0 where boxes are disjoint
    # The four products of the published code, without their cancellation where boxes overlap.
    beyond = gap_x * gap_y + 2 * ((x1 - around.x1) * gap_y + (y1 - around.y1) * gap_x)
    intersection = width * height + beyond
    ratio = intersection / (pred.area + target.area - intersection)
    return F.smooth_l1_loss(ratio, torch.ones_like(ratio), reduction="none", beta=smooth_point)


def extended_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, smooth_point: float = 0.1) -> Tensor:
    """Extended-IoU loss of boxes (K, 4) xyxy; see `ExtendedIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        smooth_point: p, below which z counts squared, above 0.

    Returns:
        (K,) for `none`, else a scalar; with the defaults the loss of a box lies in [0, 1.95].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        H. Peng, S. Yu, A Systematic IoU-Related Method, TIP 2021, https://arxiv.org/abs/2112.01793.
    """
    formula = partial(extended_iou, smooth_point=require_positive("smooth_point", smooth_point))
    return of_boxes(formula, boxes1, boxes2, reduction)


class ExtendedIoU(OverlapLoss):
    """Let the intersection become negative where boxes are disjoint, and round the tip of 1 - IoU.

        z = 1 - I / (area + target area - I)
        L = z^2 / (2 p) if z < p, else z - p / 2

    I is the area of the intersection where there is one. Beyond, it goes on below 0 as the published code has
    it: with start and end of the intersection along each axis, counted from the low edge of the smallest box
    around both. So the loss of boxes that are disjoint along one axis changes a little when they are mirrored
    along the other. Two losses are called EIoU: this one (MMDetection's `EIoULoss`) and `efficient-iou`.

    Args:
        smooth_point: p, below which z counts squared, above 0.

    Reference:
        H. Peng, S. Yu: A Systematic IoU-Related Method, https://arxiv.org/abs/2112.01793.
    """

    info = LossInfo(
        name="extended-iou",
        summary="An overlap that goes on below 0 for disjoint boxes, with a rounded tip.",
        formula="smooth-l1(1 - I / (area + target area - I)), I < 0 where boxes are disjoint; smooth_point = .1",
        range="[0, 1.95]",
        space="boxes",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as iou; its authors' weight is not known to us",
        also_called="EIoU, a name that efficient-iou has too; EIoULoss of MMDetection, Smooth-EIoU",
        reference="H. Peng, S. Yu, A Systematic IoU-Related Method, TIP 2021, https://arxiv.org/abs/2112.01793",
    )

    def __init__(self, smooth_point: float = 0.1) -> None:
        super().__init__()
        self.smooth_point = require_positive("smooth_point", smooth_point)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return extended_iou(pred, target, smooth_point=self.smooth_point)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"smooth_point={self.smooth_point:g}"
