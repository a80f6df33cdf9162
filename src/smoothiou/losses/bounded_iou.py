"""Bounded IoU."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from smoothiou.boxes import Box
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes, require_positive


def bounded_iou(pred: Box, target: Box, *, beta: float) -> Tensor:
    """Bounded-IoU loss (K,) of boxes in one frame (section 4)."""
    dx, dy = 2 * (pred.x - target.x).abs(), 2 * (pred.y - target.y).abs()
    bounds = (
        torch.relu((target.width - dx) / (target.width + dx)),  # B of x and y
        torch.relu((target.height - dy) / (target.height + dy)),
        torch.minimum(pred.width / target.width, target.width / pred.width),  # B of w and h
        torch.minimum(pred.height / target.height, target.height / pred.height),
    )
    one = torch.ones_like(dx)
    x, y, width, height = (F.smooth_l1_loss(bound, one, reduction="none", beta=beta) for bound in bounds)
    return x + y + width + height


def bounded_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, beta: float = 0.2) -> Tensor:
    """Bounded-IoU loss of boxes (K, 4) xyxy; see `BoundedIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        beta: where the parabola of smooth L1 ends, above 0; MMDetection has .2.

    Returns:
        (K,) for `none`, else a scalar; with the defaults the loss of a box lies in [0, 3.6].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        L. Tychsen-Smith, L. Petersson, Fitness NMS and Bounded IoU, CVPR 2018, https://arxiv.org/abs/1711.00164.
    """
    return of_boxes(partial(bounded_iou, beta=require_positive("beta", beta)), boxes1, boxes2, reduction)


class BoundedIoU(OverlapLoss):
    """Treat centre and size one by one, like smooth L1, but each by the IoU that it alone makes impossible.

    For each of x, y, w, h its authors take B as the best IoU that a box with this x (this w, ...) can still reach (for
    the centre a larger box reaches a little more), and

        L = sum over the four of smooth L1(1 - B)
        B of x: (t - 2 |dx|) / (t + 2 |dx|), at least 0      B of w: min(w / t, t / w)      t: the target's width

    So it stands between the losses of deltas and those of overlap. Its centre terms are flat where the centre is
    outside the target; its size terms never are.

    Args:
        beta: where the parabola of smooth L1 ends, above 0; MMDetection has .2.

    Reference:
        L. Tychsen-Smith, L. Petersson: Improving Object Localization with Fitness NMS and Bounded IoU Loss,
        https://arxiv.org/abs/1711.00164, section 4.
    """

    info = LossInfo(
        name="bounded-iou",
        summary="Smooth L1 of the IoU that each of x, y, w, h alone makes impossible.",
        formula="sum over x, y, w, h of smooth-l1(1 - best IoU with this one wrong); beta = .2",
        range="[0, 3.6]",
        space="boxes",
        vanishes_when_disjoint=True,
        symmetric=False,
        weight=10.0,
        weight_source="MMDetection",
        reference="L. Tychsen-Smith, L. Petersson, Fitness NMS and Bounded IoU, CVPR 2018,"
        " https://arxiv.org/abs/1711.00164",
    )

    def __init__(self, beta: float = 0.2) -> None:
        super().__init__()
        self.beta = require_positive("beta", beta)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return bounded_iou(pred, target, beta=self.beta)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"beta={self.beta:g}"
