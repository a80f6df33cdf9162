"""The smooth L1 loss on box codes: what torchvision trains with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.losses._base import float_pair, require_positive, sum_over_codes
from smoothiou.losses.catalogue import CATALOGUE


class SmoothL1(nn.Module):
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
        return sum_over_codes(F.smooth_l1_loss(pred, target, reduction="none", beta=self.beta), pred)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"beta={self.beta:g}"
