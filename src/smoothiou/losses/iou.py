"""The plain IoU loss."""

from __future__ import annotations

from torch import Tensor, nn

from smoothiou.boxes import CODE_WEIGHTS, Weights, deltas_iou
from smoothiou.losses._base import float_pair
from smoothiou.losses.catalogue import CATALOGUE


class IoU(nn.Module):
    """Train on the overlap itself: 1 - IoU of the two boxes that the deltas stand for (Eq. 4).

    What is measured is what is trained, and the four codes act together. But boxes that have lost touch with
    their target get no gradient at all, which is what the paper's Smooth IoU repairs.

    IoU is the same relative to an anchor and in pixels, so anchors are not needed. One number in [0, 1]
    stands against Huber's sum of four: detectors that train on it alone weigh it by about 10.

    Some call -ln IoU (UnitBox, MMDetection's default) or 1 - IoU^2 the IoU loss; this is neither.
    """

    card = CATALOGUE["iou"]

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss (K,) of deltas (K, 4) that were multiplied by `weights`; anchors are not used."""
        pred, target = float_pair(pred_deltas, target_deltas)
        return 1 - deltas_iou(pred, target, weights=weights)
