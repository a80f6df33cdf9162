"""Complete IoU."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from smoothiou.boxes import Pairs, Slopes
from smoothiou.losses._base import FRAMES, PairLoss, of_boxes, require_one_of
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.diou import distance_penalty
from smoothiou.losses.iou import one_minus_iou

ALPHAS = ("aaai", "tcyb")

# A box that is smaller than a millionth of what it spans with its target has no shape to speak of, and the slope
# of its aspect ratio would be no number.
SMALLEST_SQUARE = 1e-12


def one_minus_ciou(pairs: Pairs, *, alpha: str) -> tuple[Tensor, Slopes]:
    """Return 1 - CIoU and its slopes; the weight alpha is a constant, as in the paper."""
    iou_loss, slopes = one_minus_iou(pairs)
    even = pairs.even()
    penalty, shift, hull = distance_penalty(pairs, even)
    side, target = (pairs.lengths[:2] * even).unbind(0)
    (width, height), (target_width, target_height) = side.unbind(0), target.unbind(0)
    # atan(target w / h) - atan(w / h) in one step, which no height of 0 can break.
    turn = torch.atan2(target_width * height - width * target_height, target_height * height + target_width * width)
    turn = turn * (2 / math.pi)
    v = turn * turn  # Eq. 9
    weight = (v / (iou_loss + v).clamp(min=torch.finfo(v.dtype).eps)).detach()  # Eq. 11
    if alpha == "tcyb":
        weight = weight * (iou_loss < 0.5)
    square = (width * width + height * height).clamp(min=SMALLEST_SQUARE)
    steepness = weight * turn * (4 / math.pi) / square  # d v / d turn, over the squared diagonal
    per_side = torch.stack((height.neg(), width)) * steepness * even
    return iou_loss + penalty + weight * v, slopes._replace(shift=shift, hull=hull, side=per_side)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: str = "aaai") -> Tensor:
    """Return 1 - CIoU of boxes (K, 4) xyxy; see `CIoU`."""
    measure = partial(one_minus_ciou, alpha=require_one_of("alpha", alpha, ALPHAS))
    return of_boxes(measure, boxes1, boxes2, reduction, symmetric=True)


class CIoU(PairLoss):
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
        super().__init__()
        self.alpha = require_one_of("alpha", alpha, ALPHAS)
        self.frame = require_one_of("frame", frame, FRAMES)

    def measure(self, pairs: Pairs) -> tuple[Tensor, Slopes]:
        """Return the loss (K,) of pairs, and its slopes."""
        return one_minus_ciou(pairs, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"alpha={self.alpha!r}, frame={self.frame!r}"
