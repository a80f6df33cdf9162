"""Powerful IoU, one of the two losses called PIoU."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes


def powerful_iou(pred: Box, target: Box) -> Tensor:
    """Powerful-IoU loss (K,) of boxes in one frame."""
    width_term = ((pred.x1 - target.x1).abs() + (pred.x2 - target.x2).abs()) / target.width
    height_term = ((pred.y1 - target.y1).abs() + (pred.y2 - target.y2).abs()) / target.height
    p = (width_term + height_term) / 4
    return 1 - iou_of(pred, target) + 1 - torch.exp(-(p**2))


def powerful_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Powerful-IoU loss of boxes (K, 4) xyxy; see `PowerfulIoU`."""
    return of_boxes(powerful_iou, boxes1, boxes2, reduction)


class PowerfulIoU(OverlapLoss):
    """Measure each edge's distance in sides of the target, which no prediction can make larger.

        L = 1 - IoU + 1 - exp(-P^2),    P = mean of |edge - target edge| / target side, over the four edges

    GIoU to Efficient-IoU divide by the size of the box around both, which a larger prediction makes larger.
    P divides by the target's, so it does not fall when a disjoint box grows about its centre. Its pull is
    strongest at P = .7 and fades for boxes that are far off. Two losses are called PIoU: this one (its first
    version) and Pixels-IoU, for rotated boxes.

    Reference:
        C. Liu et al.: Powerful-IoU, Neural Networks 170, 2024, https://doi.org/10.1016/j.neunet.2023.11.041.
    """

    info = LossInfo(
        name="powerful-iou",
        summary="Overlap and the distances of the edges, in sides of the target and not of the enclosing box.",
        formula="1 - IoU + 1 - exp(-P^2); P = mean of |edge - target edge| / target side",
        range="[0, 2]",
        space="boxes",
        vanishes_when_disjoint=False,
        symmetric=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        also_called="PIoU (version 1), a name that Pixels-IoU for rotated boxes has too",
        reference="C. Liu et al., Powerful-IoU, Neural Networks 170, 2024,"
        " https://doi.org/10.1016/j.neunet.2023.11.041",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return powerful_iou(pred, target)
