"""Efficient IoU, one of the two losses called EIoU."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes, require_not_negative
from smoothiou.losses.diou import centre_distance


def one_minus_efficient_iou(pred: Box, target: Box) -> Tensor:
    """1 - Efficient IoU (K,) of boxes in one frame."""
    around = enclosing(pred, target)
    width_term = ((pred.width - target.width) / around.width) ** 2
    height_term = ((pred.height - target.height) / around.height) ** 2
    return 1 - iou_of(pred, target) + centre_distance(pred, target, around) + width_term + height_term  # Eq. 6


def focal_efficient_iou(pred: Box, target: Box, *, gamma: float) -> Tensor:
    """Focal-EIoU (K,) of boxes in one frame: IoU^gamma times the loss, the factor a constant to autograd."""
    loss = one_minus_efficient_iou(pred, target)
    return loss * iou_of(pred, target).detach() ** gamma if gamma else loss


def efficient_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, gamma: float = 0.0) -> Tensor:
    """Efficient-IoU loss of boxes (K, 4) xyxy; see `EfficientIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        gamma: power of IoU; 0: none of it. The authors' Focal-EIoU has .5.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 4].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        Y. Zhang et al., Focal and Efficient IOU Loss, 2021, https://arxiv.org/abs/2101.08158.
    """
    formula = partial(focal_efficient_iou, gamma=require_not_negative("gamma", gamma))
    return of_boxes(formula, boxes1, boxes2, reduction, per_axis=False)


class EfficientIoU(FramedLoss):
    """Pull widths and heights to the target's one by one, where CIoU pulls only their ratio.

        L = 1 - IoU + (rho / c)^2 + (w - target w)^2 / C_w^2 + (h - target h)^2 / C_h^2

    C_w and C_h are the sides of the smallest box around both, c its diagonal. Two losses are called EIoU: this
    one and `extended-iou`. The authors' Focal-EIoU weighs it by IoU^gamma besides, which leaves poor boxes alone:
    disjoint ones are not pulled at all.

    Args:
        gamma: power of IoU; 0: none of it. The authors' Focal-EIoU has .5.
        frame: as in `DIoU`.

    Reference:
        Y. Zhang et al.: Focal and Efficient IOU Loss, https://arxiv.org/abs/2101.08158, Eq. 6.
    """

    info = LossInfo(
        name="efficient-iou",
        summary="Overlap, the distance of the centres, and the differences of width and height.",
        formula="diou + ((w - target w) / C_w)^2 + ((h - target h) / C_h)^2; C_w, C_h = sides of the enclosing box",
        range="[0, 4]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        also_called="EIoU, a name that extended-iou has too",
        reference="Y. Zhang et al., Focal and Efficient IOU Loss, 2021, https://arxiv.org/abs/2101.08158",
    )

    def __init__(self, gamma: float = 0.0, frame: str = "pixels") -> None:
        super().__init__(frame)
        self.gamma = require_not_negative("gamma", gamma)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return focal_efficient_iou(pred, target, gamma=self.gamma)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"gamma={self.gamma:g}, {super().extra_repr()}"
