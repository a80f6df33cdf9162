"""The smooth L1 loss on deltas: what torchvision trains with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smoothiou.losses.base import DeltaLoss, LossInfo, float_pair, reduce, require_positive, sum_of_deltas


def smooth_l1(pred: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """Smooth L1 summed over the four numbers of a box (Eq. 3): (K, 4), (K, 4) -> (K,)."""
    return sum_of_deltas(F.smooth_l1_loss(pred, target, reduction="none", beta=beta), pred)


def smooth_l1_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, beta: float = 1 / 9) -> Tensor:
    """`SmoothL1` of the corners of boxes (K, 4); beta is in their own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        beta: where the parabola ends, above 0, in the boxes' unit. For beta = 0 use `l1`.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        R. Girshick, Fast R-CNN, ICCV 2015, https://arxiv.org/abs/1504.08083.
    """
    return reduce(smooth_l1(*float_pair(boxes1, boxes2), beta=require_positive("beta", beta)), reduction)


class SmoothL1(DeltaLoss):
    """Absolute differences with a rounded tip, so that boxes settle instead of rattling around the target.

        smooth(z) = 0.5 z^2 / beta   if |z| < beta,   |z| - 0.5 beta   otherwise

    which is Huber(delta = beta) / beta; see `Huber` for what that changes. torchvision's Faster R-CNN has
    beta = 1/9 in both stages, and weighs boxes nine times as much as `huber` at 1/9 would.

    Args:
        beta: where the parabola ends, above 0, in units of an encoded delta. For beta = 0 use `l1`.

    Reference:
        R. Girshick: Fast R-CNN, https://arxiv.org/abs/1504.08083, Eq. 3.
    """

    info = LossInfo(
        name="smooth-l1",
        summary="torchvision's default: Huber divided by its threshold, so its far slope is 1.",
        formula="huber(delta = beta) / beta; beta = 1/9",
        range="[0, inf)",
        space="deltas",
        vanishes_when_disjoint=False,
        weight_source="torchvision",
        also_called="Huber, where the threshold is 1",
        reference="R. Girshick, Fast R-CNN, ICCV 2015, https://arxiv.org/abs/1504.08083",
    )

    def __init__(self, beta: float = 1 / 9) -> None:
        super().__init__()
        self.beta = require_positive("beta", beta)

    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        return smooth_l1(pred, target, beta=self.beta)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"beta={self.beta:g}"
