"""Squared differences of box codes."""

from __future__ import annotations

from torch import Tensor, nn

from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.losses._base import float_pair
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.huber import huber

# Beyond this difference the loss goes on as a straight line: its slope could not be held by float16, which
# ends at 65,504, nor the square of a difference of 1e30 by float32.
END_OF_PARABOLA = 6e4


class L2(nn.Module):
    """Pull every code with a force that grows with its distance: the sum of z^2 / 2 over the codes.

    With the factor 1/2, as in the TensorFlow Object Detection API, it is the quadratic part of Eq. 2 and the
    limit of `Huber` for delta -> infinity. `torch.nn.functional.mse_loss` has no such factor.
    """

    card = CATALOGUE["l2"]

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss (K,) of deltas (K, 4); it needs neither weights nor anchors."""
        pred, target = float_pair(pred_deltas, target_deltas)
        return huber(pred, target, delta=END_OF_PARABOLA)
