"""Absolute differences of box codes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smoothiou.losses._base import CodeLoss, float_pair, reduced, sum_over_codes
from smoothiou.losses.catalogue import CATALOGUE


def l1(pred: Tensor, target: Tensor) -> Tensor:
    """Return the sum of |z| over the four numbers of a box: (K, 4), (K, 4) -> (K,)."""
    return sum_over_codes(F.l1_loss(pred, target, reduction="none"), pred)


def l1_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return `L1` of the corners of boxes (K, 4), in their own unit."""
    return reduced(l1(*float_pair(boxes1, boxes2)), reduction)


class L1(CodeLoss):
    """Pull every code to its target with the same force at every distance: the sum of |z| over the codes.

    The default of Detectron2 and MMDetection, and the limit of `SmoothL1` for beta -> 0. The force does not
    fade at the target, so codes rattle around it until the learning rate falls.
    """

    card = CATALOGUE["l1"]

    def of_codes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss (K,) of codes (K, 4)."""
        return l1(pred, target)
