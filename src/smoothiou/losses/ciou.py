"""Complete IoU."""

from __future__ import annotations

import math

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, angle, at_least, constant, rounding, rows, stack
from smoothiou.losses._base import FramedLoss, of_boxes, require_one_of
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.diou import distance_penalty
from smoothiou.losses.iou import one_minus_iou

# A box that is smaller than a millionth of what it spans with its target has no shape to speak of, and the slope
# of its aspect ratio would be no number.
SMALLEST_SQUARE = 1e-12


@formula(kernel="ciou")
def one_minus_ciou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return 1 - CIoU and its slopes; the weight alpha is a constant, as in the paper."""
    return _one_minus_ciou(pairs, gated=False)


@formula(kernel="ciou-tcyb")
def one_minus_gated_ciou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return the same with an alpha of 0 where IoU is at most one half."""
    return _one_minus_ciou(pairs, gated=True)


ALPHAS = {"aaai": one_minus_ciou, "tcyb": one_minus_gated_ciou}


def _one_minus_ciou(pairs: Pairs, *, gated: bool) -> tuple[Array, Slopes]:
    iou_loss, slopes = one_minus_iou(pairs)
    even = pairs.even()
    penalty, shift, hull = distance_penalty(pairs, even)
    side, target = rows(pairs.lengths[:2] * even)
    (width, height), (target_width, target_height) = rows(side), rows(target)
    # atan(target w / h) - atan(w / h) in one step, which no height of 0 can break.
    turn = angle(target_width * height - width * target_height, target_height * height + target_width * width)
    turn = turn * (2 / math.pi)
    v = turn * turn  # Eq. 9
    weight = constant(v / at_least(iou_loss + v, rounding(v)))  # Eq. 11
    if gated:
        weight = weight * (iou_loss < 0.5)
    square = at_least(width * width + height * height, SMALLEST_SQUARE)
    steepness = weight * turn * (4 / math.pi) / square  # d v / d turn, over the squared diagonal
    per_side = stack((-height, width)) * steepness * even
    return iou_loss + penalty + weight * v, slopes._replace(shift=shift, hull=hull, side=per_side)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: str = "aaai") -> Tensor:
    """Return 1 - CIoU of boxes (K, 4) xyxy; see `CIoU`."""
    return of_boxes(ALPHAS[require_one_of("alpha", alpha, tuple(ALPHAS))], boxes1, boxes2, reduction, symmetric=True)


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

    card = CATALOGUE["ciou"]

    def __init__(self, alpha: str = "aaai", frame: str = "pixels") -> None:
        super().__init__(frame)
        self.alpha = require_one_of("alpha", alpha, tuple(ALPHAS))
        self.measure = ALPHAS[self.alpha]

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"alpha={self.alpha!r}, {super().extra_repr()}"
