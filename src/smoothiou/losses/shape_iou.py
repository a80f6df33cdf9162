"""Shape-IoU: distance and shape weighed by the target's own shape."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes, require_not_negative


def one_minus_shape_iou(pred: Box, target: Box, *, scale: float) -> Tensor:
    """Shape-IoU loss (K,) of boxes in one frame."""
    # ww = 2 w^s / (w^s + h^s) and hh = 2 h^s / (w^s + h^s) of the target, without a power that could overflow.
    wide = 2 * torch.sigmoid(scale * (torch.log(target.width) - torch.log(target.height)))
    high = 2 - wide
    around = enclosing(pred, target)
    diagonal = around.width**2 + around.height**2
    distance = (high * (pred.x - target.x) ** 2 + wide * (pred.y - target.y) ** 2) / diagonal
    off_width = high * (pred.width - target.width).abs() / torch.maximum(pred.width, target.width)
    off_height = wide * (pred.height - target.height).abs() / torch.maximum(pred.height, target.height)
    shape = (1 - torch.exp(-off_width)) ** 4 + (1 - torch.exp(-off_height)) ** 4
    return 1 - iou_of(pred, target) + distance + 0.5 * shape


def shape_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, scale: float = 0.0) -> Tensor:
    """Shape-IoU loss of boxes (K, 4) xyxy; see `ShapeIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        scale: 0 or more; the authors relate it to the size of the data set's objects. Copies have 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 3.29].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        H. Zhang, S. Zhang, Shape-IoU, 2023, https://arxiv.org/abs/2312.17663.
    """
    formula = partial(one_minus_shape_iou, scale=require_not_negative("scale", scale))
    return of_boxes(formula, boxes1, boxes2, reduction, per_axis=False)


class ShapeIoU(FramedLoss):
    """Weigh what is off along each axis by the target's shape: along its short side it costs more.

        L = 1 - IoU + (hh dx^2 + ww dy^2) / c^2 + (Omega_w + Omega_h) / 2
        ww = 2 w^scale / (w^scale + h^scale),  hh = 2 h^scale / (w^scale + h^scale)    of the target
        Omega_w = (1 - exp(-hh |dw| / the larger width))^4,  Omega_h likewise with ww

    As printed, hh goes with dx: what a tall target is missed by sideways counts up to twice. At scale 0 both are 1, and
    the loss is DIoU with SIoU's term of shape.

    Args:
        scale: 0 or more; the authors relate it to the size of the data set's objects. Copies have 0.
        frame: as in `DIoU`.

    Reference:
        H. Zhang, S. Zhang: Shape-IoU, https://arxiv.org/abs/2312.17663.
    """

    info = LossInfo(
        name="shape-iou",
        summary="Overlap, distance of centres and shape, both weighed by the target's own shape.",
        formula="1 - IoU + (hh dx^2 + ww dy^2) / c^2 + shape / 2; ww, hh = 2 w^s, 2 h^s / (w^s + h^s); s = 0",
        range="[0, 3.29]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        symmetric=True,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        reference="H. Zhang, S. Zhang, Shape-IoU, 2023, https://arxiv.org/abs/2312.17663",
    )

    def __init__(self, scale: float = 0.0, frame: str = "pixels") -> None:
        super().__init__(frame)
        self.scale = require_not_negative("scale", scale)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_shape_iou(pred, target, scale=self.scale)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"scale={self.scale:g}, {super().extra_repr()}"
