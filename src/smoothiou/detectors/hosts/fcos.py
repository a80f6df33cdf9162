"""torchvision's FCOS with another box loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.fcos import FCOSHead

from smoothiou.detectors.stage_loss import BoxLossStage, Targets


class BoxLossFCOSHead(BoxLossStage, FCOSHead):
    """FCOS's head, which predicts the distances of a point to four edges; the sum is divided by all positives.

    A loss sees boxes, through its `on_boxes`: in pixels if it is of overlap alone, else in sides of the anchor, in
    which the head's outputs are measured.
    """

    replaces = FCOSHead
    sees = "boxes"
    gives = ("images",)

    def compute_loss(
        self, targets: Targets, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of classes, boxes and centres; arguments as in torchvision."""
        losses = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        matched = torch.cat(matched_idxs)
        positive = torch.where(matched >= 0)[0]
        on = torch.cat(anchors)[positive]
        pred = self.box_coder.decode(head_outputs["bbox_regression"].flatten(0, 1)[positive], on)
        target = torch.cat([each["boxes"][rows[rows >= 0]] for each, rows in zip(targets, matched_idxs, strict=True)])
        loss: Any = self.box_loss.loss
        if getattr(getattr(loss, "info", None), "space", "boxes") != "boxes":
            side = (on[:, 2:] - on[:, :2]).repeat(1, 2)
            pred, target = pred / side, target.to(side.dtype) / side
        context = self.context(positive, [len(boxes) for boxes in anchors])
        total = self.box_loss.of_boxes(pred, target, **context).sum()
        losses["bbox_regression"] = self.box_loss.weight * (total / max(1, len(positive)))
        return losses
