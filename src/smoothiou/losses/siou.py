"""SIoU, with the sign of its distance cost right."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes

# Squared distance of centres, in sides of the enclosing box, below which they count as on an axis: 0 has no angle.
SMALLEST_SQUARE = 1e-12


def siou(pred: Box, target: Box) -> Tensor:
    """SIoU loss (K,) of boxes in one frame."""
    around = enclosing(pred, target)
    dx, dy = pred.x - target.x, pred.y - target.y
    # sin(2 angle); the paper's 1 - 2 sin^2(arcsin(x) - pi / 4) is the same number.
    angle = 2 * (dx * dy).abs() / (dx**2 + dy**2).clamp(min=SMALLEST_SQUARE)
    gamma = 2 - angle
    distance = 2 - torch.exp(-gamma * (dx / around.width) ** 2) - torch.exp(-gamma * (dy / around.height) ** 2)
    width_term = (pred.width - target.width).abs() / torch.maximum(pred.width, target.width)
    height_term = (pred.height - target.height).abs() / torch.maximum(pred.height, target.height)
    shape = (1 - torch.exp(-width_term)) ** 4 + (1 - torch.exp(-height_term)) ** 4
    return 1 - iou_of(pred, target) + (distance + shape) / 2


def siou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """SIoU loss of boxes (K, 4) xyxy; see `SIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 2.025].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        Z. Gevorgyan, SIoU Loss, 2022, https://arxiv.org/abs/2205.12740.
    """
    return of_boxes(siou, boxes1, boxes2, reduction, per_axis=False)


class SIoU(FramedLoss):
    """Weigh the distance of the centres by the angle under which they see each other.

        L = 1 - IoU + (distance + shape) / 2
        distance = sum over x, y of 1 - exp(-gamma (shift / C)^2),    gamma = 2 - sin(2 angle)
        shape = sum over w, h of (1 - exp(-|side - target| / larger))^4

    C is the side of the smallest box around both, the angle that of the line between the centres. The paper
    means to pull to the nearer axis first; by its formula the cost is smallest at 45 degrees, so that along the
    smaller shift the pull may point away from the target. The distance cost grows with the distance. In
    MMDetection 3.3 it falls by default (the exponent's sign is turned), so the loss there goes to 0 as boxes
    move apart.

    Args:
        frame: as in `DIoU`.

    Reference:
        Z. Gevorgyan: SIoU Loss, https://arxiv.org/abs/2205.12740.
    """

    info = LossInfo(
        name="siou",
        summary="Overlap, a distance that counts less at 45 degrees, and a shape cost.",
        formula="1 - IoU + (distance + shape) / 2; distance = sum of 1 - exp((sin(2 angle) - 2) (shift / C)^2),"
        " shape = sum of (1 - exp(-|side - target| / larger))^4; C = side of the enclosing box",
        range="[0, 2.025]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        also_called="SIoULoss of MMDetection, whose default turns the sign of the distance cost",
        reference="Z. Gevorgyan, SIoU Loss, 2022, https://arxiv.org/abs/2205.12740",
    )

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return siou(pred, target)
