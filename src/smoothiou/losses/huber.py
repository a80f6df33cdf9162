"""The Huber loss on deltas: the paper's baseline."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smoothiou.losses.base import DeltaLoss, LossInfo, float_pair, reduce, require_positive, sum_of_deltas


def huber(pred: Tensor, target: Tensor, *, delta: float) -> Tensor:
    """Huber summed over the four numbers of a box (Eq. 2): (K, 4), (K, 4) -> (K,)."""
    return sum_of_deltas(F.huber_loss(pred, target, reduction="none", delta=delta), pred)  # Eq. 2


def huber_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, delta: float = 1.0) -> Tensor:
    """`Huber` of the corners of boxes (K, 4); delta is in their own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        delta: where the parabola ends, above 0, in the boxes' unit.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        P. J. Huber, Robust Estimation of a Location Parameter, 1964.
    """
    return reduce(huber(*float_pair(boxes1, boxes2), delta=require_positive("delta", delta)), reduction)


class Huber(DeltaLoss):
    """Pull every delta to its target: gently when near, with a constant force when far (Eq. 2).

    With z the difference of a predicted and a target delta:

                     | 0.5 z^2                      if |z| < delta
        huber(z)   = |
                     | delta |z| - 0.5 delta^2      otherwise

    It is often called smooth L1, but is not the same. In torchvision, Detectron2 and MMDetection:

                     | 0.5 z^2 / beta               if |z| < beta
        smooth(z)  = |
                     | |z| - 0.5 beta               otherwise

    so that smooth L1(beta) = Huber(delta = beta) / beta. The difference matters when the threshold moves:

    - As beta -> 0, smooth L1 becomes L1, while Huber with delta -> 0 becomes 0.
    - As beta -> infinity, smooth L1 becomes 0, while Huber with delta -> infinity becomes L2.
    - The far slope of smooth L1 is always 1, that of Huber is delta; Huber's curvature at the target is
      always 1, that of smooth L1 is 1 / beta.

    At 1 they are equal. The TensorFlow Object Detection API, on which the paper was run, has Huber at 1.
    Deltas are multiplied by `weights` before: delta = 1 is a shift of a tenth of the anchor's side.

    Args:
        delta: where the parabola ends, above 0, in units of an encoded delta.

    Reference:
        P. J. Huber: Robust Estimation of a Location Parameter, 1964.
    """

    info = LossInfo(
        name="huber",
        summary="The paper's baseline: quadratic near the target, linear far away (Eq. 2).",
        formula="sum of (z^2 / 2 if |z| < delta else delta |z| - delta^2 / 2); delta = 1",
        range="[0, inf)",
        space="deltas",
        vanishes_when_disjoint=False,
        weight_source="the paper; TensorFlow Object Detection API",
        also_called="smooth L1, in texts that keep delta = 1",
        reference="P. J. Huber, Robust Estimation of a Location Parameter, 1964",
    )

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.delta = require_positive("delta", delta)

    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        return huber(pred, target, delta=self.delta)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"delta={self.delta:g}"
