"""Squared differences of box codes."""

from __future__ import annotations

from torch import Tensor

from smoothiou.losses._base import CodeLoss, float_pair, reduced
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.huber import huber

# Beyond this difference the loss goes on as a straight line: its slope could not be held by float16, which
# ends at 65,504, nor the square of a difference of 1e30 by float32.
END_OF_PARABOLA = 6e4


def l2_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return `L2` of the corners of boxes (K, 4), in their own unit."""
    return reduced(huber(*float_pair(boxes1, boxes2), delta=END_OF_PARABOLA), reduction)


class L2(CodeLoss):
    """Pull every code with a force that grows with its distance: the sum of z^2 / 2 over the codes.

    With the factor 1/2, as in the TensorFlow Object Detection API, it is the quadratic part of Eq. 2 and the
    limit of `Huber` for delta -> infinity. `torch.nn.functional.mse_loss` has no such factor.
    """

    card = CATALOGUE["l2"]

    def of_codes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss (K,) of codes (K, 4)."""
        return huber(pred, target, delta=END_OF_PARABOLA)
