"""Squared differences of deltas."""

from __future__ import annotations

from torch import Tensor

from smoothiou.losses.base import DeltaLoss, LossInfo, float_pair, reduce
from smoothiou.losses.huber import huber

# Beyond this difference the loss goes on as a straight line: its slope could not be held by float16, which
# ends at 65,504, nor the square of a difference of 1e30 by float32.
END_OF_PARABOLA = 6e4


def l2(pred: Tensor, target: Tensor) -> Tensor:
    """Sum of z^2 / 2 over the four numbers of a box: (K, 4), (K, 4) -> (K,)."""
    return huber(pred, target, delta=END_OF_PARABOLA)


def l2_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """`L2` of the corners of boxes (K, 4), in their own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        TensorFlow Object Detection API, WeightedL2LocalizationLoss.
    """
    return reduce(l2(*float_pair(boxes1, boxes2)), reduction)


class L2(DeltaLoss):
    """Pull every delta with a force that grows with its distance: the sum of z^2 / 2.

    With the factor 1/2, as in the TensorFlow Object Detection API, it is the quadratic part of Eq. 2 and the
    limit of `Huber` for delta -> infinity. `torch.nn.functional.mse_loss` has no such factor.
    """

    info = LossInfo(
        name="l2",
        summary="Squared differences: one far-off box can outweigh a whole batch.",
        formula="sum of z^2 / 2",
        range="[0, inf)",
        space="deltas",
        vanishes_when_disjoint=False,
        weight_source="TensorFlow Object Detection API",
        also_called="mean squared error, which lacks the factor 1/2",
        reference="TensorFlow Object Detection API, WeightedL2LocalizationLoss",
    )

    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        return l2(pred, target)
