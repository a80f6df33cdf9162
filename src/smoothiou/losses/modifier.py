"""What Inner-IoU and Focaler-IoU share: they put another overlap in the place of IoU, in any loss of overlap."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS, Box, Weights, box_pair, delta_pair, iou_of
from smoothiou.losses.base import OverlapLoss, RegisteredLoss, float_pair, require_one_of, xyxy_pair
from smoothiou.losses.ciou import CIoU
from smoothiou.losses.diou import DIoU
from smoothiou.losses.efficient_iou import EfficientIoU
from smoothiou.losses.giou import GIoU
from smoothiou.losses.iou import IoU
from smoothiou.losses.siou import SIoU

MODIFIED: dict[str, type[OverlapLoss]] = {
    "iou": IoU,
    "giou": GIoU,
    "diou": DIoU,
    "ciou": CIoU,
    "siou": SIoU,
    "efficient-iou": EfficientIoU,
}
"""The losses that can be modified."""


class ModifiedIoU(RegisteredLoss, ABC):
    """A loss X with another overlap: X + IoU - IoU', which is 1 - IoU' plus the penalties of X."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self.of = require_one_of("of", of, tuple(MODIFIED))
        self.base = MODIFIED[of]()

    @abstractmethod
    def overlap(self, pred: Box, target: Box) -> Tensor:
        """IoU' (K,) of boxes in one frame."""

    def gain(self, pred: Box, target: Box) -> Tensor:
        """IoU - IoU' (K,) of boxes in one frame."""
        return iou_of(pred, target) - self.overlap(pred, target)

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Loss (K,) of the boxes that deltas (K, 4) stand for; anchors as for the loss that is modified."""
        pred, target = float_pair(pred_deltas, target_deltas)
        loss = self.base(pred, target, weights=weights, anchors=anchors)
        return (loss + self.gain(*delta_pair(pred, target, weights=weights))).clamp(min=0)

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Loss (K,) of boxes (K, 4)."""
        pred, target = xyxy_pair(pred, target, box_format=box_format)
        return (self.base.on_boxes(pred, target) + self.gain(*box_pair(pred, target))).clamp(min=0)
