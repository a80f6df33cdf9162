"""The smooth L1 loss on box codes: what torchvision trains with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smoothiou.losses._base import CodeLoss, float_pair, reduced, require_positive, sum_over_codes
from smoothiou.losses.catalogue import CATALOGUE


def smooth_l1(pred: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """Return smooth L1 summed over the four numbers of a box: (K, 4), (K, 4) -> (K,)."""
    return sum_over_codes(F.smooth_l1_loss(pred, target, reduction="none", beta=beta), pred)


def smooth_l1_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, beta: float = 1 / 9) -> Tensor:
    """Return `SmoothL1` of the corners of boxes (K, 4); beta is in their own unit."""
    return reduced(smooth_l1(*float_pair(boxes1, boxes2), beta=require_positive("beta", beta)), reduction)


class SmoothL1(CodeLoss):
    """Absolute differences with a rounded tip, so that boxes settle instead of rattling around the target.

        smooth(z) = 0.5 z^2 / beta   if |z| < beta,   |z| - 0.5 beta   otherwise

    which is Huber(delta = beta) / beta; see `Huber` for what that changes. torchvision's Faster R-CNN has
    beta = 1/9 in both stages, and weighs boxes nine times as much as `huber` at 1/9 would.

    Args:
        beta: where the parabola ends, above 0, in units of a code. For beta = 0 use `l1`.

    Reference:
        R. Girshick: Fast R-CNN, https://arxiv.org/abs/1504.08083, Eq. 3.
    """

    card = CATALOGUE["smooth-l1"]

    def __init__(self, beta: float = 1 / 9) -> None:
        super().__init__()
        self.beta = require_positive("beta", beta)

    def of_codes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss (K,) of codes (K, 4)."""
        return smooth_l1(pred, target, beta=self.beta)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"beta={self.beta:g}"
