"""The second stage of torchvision's Faster, Mask and Keypoint R-CNN with another box loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, keypointrcnn_loss, maskrcnn_loss

from smoothiou.boxes import in_float
from smoothiou.detectors.stage_loss import BoxLossStage, Targets
from smoothiou.detectors.targets import spare_ignored


class SparingRoIHeads(RoIHeads):
    """torchvision's second stage, in whose training samples no negative lies on an ignore box."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: Targets | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return sampled proposals, matched gt indices, labels and target deltas of each image."""
        self.check_targets(targets)
        targets = targets or []
        for target in targets:
            if not target["boxes"].is_floating_point() or target["labels"].dtype != torch.int64:
                got = f"{target['boxes'].dtype} and {target['labels'].dtype}"
                raise TypeError(f"targets: expected boxes of a float type and labels of int64, got {got}")
        gt_boxes = [target["boxes"].to(proposals[0].dtype) for target in targets]
        gt_labels = [target["labels"] for target in targets]
        proposals = self.add_gt_proposals(proposals, gt_boxes)
        matched, labels = self.assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        labels = spare_ignored(labels, proposals, targets)
        rows = self.subsample(labels)
        proposals, matched, labels = (
            [each[index] for each, index in zip(values, rows, strict=True)] for values in (proposals, matched, labels)
        )
        matched_boxes = [
            (boxes if len(boxes) else boxes.new_zeros(1, 4))[index]
            for boxes, index in zip(gt_boxes, matched, strict=True)
        ]
        return proposals, matched, labels, self.box_coder.encode(matched_boxes, proposals)


class BoxLossRoIHeads(BoxLossStage, SparingRoIHeads):
    """torchvision's second stage with another box loss; its lines otherwise."""

    replaces = RoIHeads

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (inference) or the losses of classes, boxes, masks and keypoints (training)."""
        if not self.training or targets is None:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, matched, per_image, target_deltas = self.select_training_samples(proposals, targets)
        class_logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        labels = torch.cat(per_image)
        positive = torch.where(labels > 0)[0]
        # Each class has its own four deltas; a positive trains those of its class.
        by_class = deltas.reshape(len(labels), deltas.shape[-1] // 4, 4)
        loss_box_reg = self.box_loss(
            by_class[positive, labels[positive]],
            torch.cat(target_deltas)[positive],
            weights=self.box_coder.weights,
            anchors=torch.cat(proposals)[positive],
            sampled=len(labels),
            **self.context(positive, [len(boxes) for boxes in proposals], image_shapes),
        )
        logits = in_float(class_logits)
        # Where everything is ignored, torchvision's mean over nothing would be NaN.
        loss_classifier = F.cross_entropy(logits, labels) if len(labels) else logits.sum()
        losses = {"loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}
        if self.has_mask() or self.has_keypoint():
            rows = [torch.where(each > 0)[0] for each in per_image]
            boxes, matched = ([each[r] for each, r in zip(of, rows, strict=True)] for of in (proposals, matched))
            losses |= self._other_losses(features, boxes, matched, image_shapes, targets)
        return [], losses

    def _other_losses(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        matched: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets,
    ) -> dict[str, Tensor]:
        """Return the losses of masks and of keypoints, where the detector has them, of the positive boxes."""
        heads: Any = self
        losses = {}
        if self.has_mask():
            logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, boxes, image_shapes)))
            masks, labels = ([target[key] for target in targets] for key in ("masks", "labels"))
            losses["loss_mask"] = maskrcnn_loss(logits, boxes, masks, labels, matched)
        if self.has_keypoint():
            crops = heads.keypoint_roi_pool(features, boxes, image_shapes)
            logits = heads.keypoint_predictor(heads.keypoint_head(crops))
            keypoints = [target["keypoints"] for target in targets]
            losses["loss_keypoint"] = keypointrcnn_loss(logits, boxes, keypoints, matched)
        return losses
