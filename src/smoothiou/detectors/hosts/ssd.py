"""torchvision's SSD and SSDLite with another box loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from smoothiou.detectors.stage_loss import BoxLossStage, Targets


class BoxLossSSD(BoxLossStage, SSD):
    """SSD; the sum is divided by all positives."""

    replaces = SSD

    def compute_loss(
        self, targets: Targets, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of boxes and of classes; arguments as in torchvision."""
        losses = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        rows = [torch.where(matched >= 0)[0] for matched in matched_idxs]
        sizes = [len(boxes) for boxes in anchors]
        positives = torch.where(torch.cat(matched_idxs) >= 0)[0]
        pred = head_outputs["bbox_regression"].flatten(0, 1)[positives]
        on = torch.cat(anchors)[positives]
        matched_boxes = [t["boxes"][m[row]] for t, m, row in zip(targets, matched_idxs, rows, strict=True)]
        target = self.box_coder.encode_single(torch.cat(matched_boxes), on)
        # Every image is resized to this.
        width, height = self.transform.fixed_size or (0, 0)
        context = self.context(positives, sizes, [(height, width)] * len(targets))
        each = self.box_loss.of_deltas(pred, target, weights=self.box_coder.weights, anchors=on, **context)
        per_image = torch.stack([part.sum() for part in each.split([len(row) for row in rows])])
        losses["bbox_regression"] = self.box_loss.weight * (per_image.sum() / max(1, len(positives)))
        return losses
