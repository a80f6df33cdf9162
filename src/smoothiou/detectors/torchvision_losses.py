"""torchvision's own box losses, to put in with `set_box_loss`: then its hosts give their own numbers to the last bit.

They return (K, 4) where torchvision sums (K, 4) at once; summing row by row would differ in the last bits.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from smoothiou.boxes import DELTA_WEIGHTS, Weights, decode_deltas


def torchvision_smooth_l1(
    pred_deltas: Tensor,
    target_deltas: Tensor,
    *,
    weights: Weights | None = None,
    anchors: Tensor | None = None,
    beta: float = 1 / 9,
) -> Tensor:
    """Return the loss of both stages of Faster, Mask and Keypoint R-CNN; with `beta=1` that of SSD.

    Args:
        pred_deltas: (K, 4).
        target_deltas: (K, 4), row by row.
        weights, anchors: not used.
        beta: where the parabola ends, above 0, in units of a delta.
    """
    return F.smooth_l1_loss(pred_deltas, target_deltas, beta=beta, reduction="none")


def torchvision_l1(
    pred_deltas: Tensor, target_deltas: Tensor, *, weights: Weights | None = None, anchors: Tensor | None = None
) -> Tensor:
    """Return the loss of RetinaNet.

    Args:
        pred_deltas: (K, 4).
        target_deltas: (K, 4), row by row.
        weights, anchors: not used.
    """
    return F.l1_loss(pred_deltas, target_deltas, reduction="none")


class TorchvisionGIoU(nn.Module):
    """The loss of FCOS, of boxes in pixels."""

    def forward(
        self, pred_deltas: Tensor, target_deltas: Tensor, *, weights: Weights = DELTA_WEIGHTS, anchors: Tensor
    ) -> Tensor:
        """Loss (K,) of deltas (K, 4).

        Args:
            pred_deltas: (K, 4).
            target_deltas: (K, 4), row by row.
            weights: factors that the deltas were multiplied by.
            anchors: (K, 4) xyxy in pixels.
        """
        return self.on_boxes(*(decode_deltas(rows, anchors, weights=weights) for rows in (pred_deltas, target_deltas)))

    def on_boxes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of boxes (K, 4) xyxy.

        Args:
            pred: (K, 4) xyxy.
            target: (K, 4) xyxy, row by row.
        """
        return generalized_box_iou_loss(pred, target, reduction="none")
