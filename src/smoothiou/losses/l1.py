"""Absolute differences of box codes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.losses._base import float_pair, sum_over_codes
from smoothiou.losses.catalogue import CATALOGUE


class L1(nn.Module):
    """Pull every code to its target with the same force at every distance: the sum of |z| over the codes.

    The default of Detectron2 and MMDetection, and the limit of `SmoothL1` for beta -> 0.
    """

    card = CATALOGUE["l1"]

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
        return sum_over_codes(F.l1_loss(pred, target, reduction="none"), pred)
