"""torchvision's RetinaNet with another box loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNetRegressionHead

from smoothiou.detectors.stage_loss import BoxLossStage, Targets


class BoxLossRetinaNetHead(BoxLossStage, RetinaNetRegressionHead):
    """RetinaNet's regression head; each image's sum is divided by its positives, and the images are averaged."""

    replaces = RetinaNetRegressionHead
    gives = ("images",)

    def compute_loss(
        self, targets: Targets, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Tensor:
        """Return the box loss; arguments as in torchvision."""
        rows = [torch.where(matched >= 0)[0] for matched in matched_idxs]
        sizes = [len(boxes) for boxes in anchors]
        positives = torch.where(torch.cat(matched_idxs) >= 0)[0]
        pred = torch.cat([deltas[row] for deltas, row in zip(head_outputs["bbox_regression"], rows, strict=True)])
        on = torch.cat([boxes[row] for boxes, row in zip(anchors, rows, strict=True)])
        matched_boxes = [t["boxes"][m[row]] for t, m, row in zip(targets, matched_idxs, rows, strict=True)]
        target = self.box_coder.encode_single(torch.cat(matched_boxes), on)
        context = self.context(positives, sizes)
        losses = self.box_loss.of_deltas(pred, target, weights=self.box_coder.weights, anchors=on, **context)
        counts = [len(row) for row in rows]
        per_image = [each.sum() / max(1, count) for each, count in zip(losses.split(counts), counts, strict=True)]
        return self.box_loss.weight * (sum(per_image[1:], per_image[0]) / max(1, len(targets)))
