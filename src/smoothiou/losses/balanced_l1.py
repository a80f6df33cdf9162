"""Balanced L1: the loss of Libra R-CNN."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothiou.errors import ConfigError
from smoothiou.losses.base import DeltaLoss, LossInfo, float_pair, reduce, require_positive, sum_of_deltas

LARGEST_RATIO = 80
"""gamma / alpha beyond which exp() overflows float32."""


def balanced_l1(pred: Tensor, target: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Balanced L1 summed over the four numbers of a box (Eq. 9): (K, 4), (K, 4) -> (K,)."""
    if gamma / alpha > LARGEST_RATIO:
        raise ConfigError(
            f"gamma / alpha: expected at most {LARGEST_RATIO}, got {gamma:g} / {alpha:g}.",
            hint="The authors have 1.5 / .5.",
        )
    b = math.expm1(gamma / alpha)  # Eq. 8: alpha ln(b + 1) = gamma, so that both parts have one slope at 1
    z = (pred - target).abs()
    near = z.clamp(max=1)
    curve = alpha / b * (b * near + 1) * torch.log1p(b * near) - alpha * near  # Eq. 9, for |z| < 1
    # The two terms of the curve cancel near 0, where rounding may leave a number below it.
    return sum_of_deltas(curve.clamp(min=0) + gamma * (z - near), pred)


def balanced_l1_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: float = 0.5, gamma: float = 1.5
) -> Tensor:
    """`BalancedL1` of the corners of boxes (K, 4), in their own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        alpha: a smaller one lifts the slope of nearly right deltas more, above 0.
        gamma: slope of far-off deltas, above 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        J. Pang et al., Libra R-CNN, CVPR 2019, https://arxiv.org/abs/1904.02701.
    """
    alpha, gamma = require_positive("alpha", alpha), require_positive("gamma", gamma)
    return reduce(balanced_l1(*float_pair(boxes1, boxes2), alpha=alpha, gamma=gamma), reduction)


class BalancedL1(DeltaLoss):
    """Pull nearly right deltas harder than smooth L1 does, so that far-off boxes do not drown them.

    The slope rises as a logarithm to gamma at |z| = 1 and stays there:

                   | alpha ln(b |z| + 1)     if |z| < 1,    b = exp(gamma / alpha) - 1
        slope(z) = |
                   | gamma                   otherwise

    Args:
        alpha: a smaller one lifts the slope of nearly right deltas more, above 0.
        gamma: slope of far-off deltas, above 0.

    Reference:
        J. Pang et al.: Libra R-CNN, https://arxiv.org/abs/1904.02701, Eq. 8 and 9.
    """

    info = LossInfo(
        name="balanced-l1",
        summary="Smooth L1 with a stronger pull on nearly right deltas, so far-off boxes do not drown them.",
        formula="sum of (alpha/b (b|z| + 1) ln(b|z| + 1) - alpha|z| if |z| < 1 else gamma|z| + gamma/b - alpha);"
        " b = e^(gamma/alpha) - 1, alpha = .5, gamma = 1.5",
        range="[0, inf)",
        space="deltas",
        vanishes_when_disjoint=False,
        weight_source="Libra R-CNN",
        reference="J. Pang et al., Libra R-CNN, CVPR 2019, https://arxiv.org/abs/1904.02701",
    )

    def __init__(self, alpha: float = 0.5, gamma: float = 1.5) -> None:
        super().__init__()
        self.alpha = require_positive("alpha", alpha)
        self.gamma = require_positive("gamma", gamma)

    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        return balanced_l1(pred, target, alpha=self.alpha, gamma=self.gamma)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"alpha={self.alpha:g}, gamma={self.gamma:g}"
