"""Absolute differences of deltas."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smoothiou.losses.base import DeltaLoss, LossInfo, float_pair, reduce, sum_of_deltas


def l1(pred: Tensor, target: Tensor) -> Tensor:
    """Sum of |z| over the four numbers of a box: (K, 4), (K, 4) -> (K,)."""
    return sum_of_deltas(F.l1_loss(pred, target, reduction="none"), pred)


def l1_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """`L1` of the corners of boxes (K, 4), in their own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        the default of Detectron2 and MMDetection.
    """
    return reduce(l1(*float_pair(boxes1, boxes2)), reduction)


class L1(DeltaLoss):
    """Pull every delta to its target with the same force at every distance: the sum of |z|.

    The default of Detectron2 and MMDetection, and the limit of `SmoothL1` for beta -> 0. The force does not
    fade at the target, so deltas rattle around it until the learning rate falls.
    """

    info = LossInfo(
        name="l1",
        summary="Absolute differences: the same pull at every distance.",
        formula="sum of |z|",
        range="[0, inf)",
        space="deltas",
        vanishes_when_disjoint=False,
        weight_source="Detectron2, MMDetection",
        reference="the default of Detectron2 and MMDetection",
    )

    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        return l1(pred, target)
