"""Complete IoU."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes, require_one_of
from smoothiou.losses.diou import centre_distance

ALPHAS = ("aaai", "tcyb")


def one_minus_ciou(pred: Box, target: Box, *, alpha: str) -> Tensor:
    """1 - CIoU (K,) of boxes in one frame; the weight of v is a constant to autograd, as in the paper."""
    iou = iou_of(pred, target)
    aspects = torch.atan(target.width / target.height) - torch.atan(pred.width / pred.height)
    v = 4 / math.pi**2 * aspects**2  # Eq. 9
    weight = (v / (1 - iou + v).clamp(min=torch.finfo(v.dtype).eps)).detach()  # Eq. 11
    if alpha == "tcyb":
        weight = weight * (iou > 0.5)
    return 1 - iou + centre_distance(pred, target, enclosing(pred, target)) + weight * v  # Eq. 10


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: str = "aaai") -> Tensor:
    """1 - CIoU of boxes (K, 4) xyxy; see `CIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        alpha: `aaai`: of the aspect ratios as published (torchvision, Detectron2, ultralytics); `tcyb`: 0 where IoU is
            at most .5, as in the authors' second paper (MMDetection).

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 3].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287.
    """
    formula = partial(one_minus_ciou, alpha=require_one_of("alpha", alpha, ALPHAS))
    return of_boxes(formula, boxes1, boxes2, reduction, per_axis=False)


class CIoU(FramedLoss):
    """Pull the centres together and the aspect ratios too.

        CIoU = IoU - (rho / c)^2 - alpha v
        v = 4 / pi^2 (atan(target w / h) - atan(w / h))^2,    alpha = v / (1 - IoU + v), a constant

    The authors leave out the factor 1 / (w^2 + h^2) of v's gradient; here the gradient is that of v.

    Args:
        alpha: `aaai`: as above (torchvision, Detectron2, ultralytics); `tcyb`: 0 where IoU is at most .5, as
            in the authors' second paper (MMDetection).
        frame: as in `DIoU`.

    Reference:
        Z. Zheng et al.: Distance-IoU Loss, https://arxiv.org/abs/1911.08287, Eq. 8 to 11;
        Z. Zheng et al.: Enhancing Geometric Factors, https://arxiv.org/abs/2005.03572 (`tcyb`).
    """

    info = LossInfo(
        name="ciou",
        summary="Overlap, the distance of the centres, and the aspect ratio.",
        formula="diou + alpha v; v = 4/pi^2 (difference of atan(w/h))^2, alpha = v / (1 - IoU + v), a constant",
        range="[0, 3]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        weight=12.0,
        weight_source="its authors; MMDetection, PaddleDetection",
        also_called="complete_box_iou_loss of torchvision; two rules for alpha are in use",
        reference="Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287",
    )

    def __init__(self, alpha: str = "aaai", frame: str = "pixels") -> None:
        super().__init__(frame)
        self.alpha = require_one_of("alpha", alpha, ALPHAS)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_ciou(pred, target, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"alpha={self.alpha!r}, {super().extra_repr()}"
