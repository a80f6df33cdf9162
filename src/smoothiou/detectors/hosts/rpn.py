"""The first stage of torchvision's two-stage detectors with another box loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import box_iou

from smoothiou.boxes import in_float, pairwise_iou
from smoothiou.detectors.stage_loss import BoxLossStage, Targets
from smoothiou.detectors.targets import spare_ignored
from smoothiou.detectors.tensor_cache import TensorCache, tensor_digest


class BoxLossRPN(BoxLossStage, RegionProposalNetwork):
    """torchvision's region proposal network with another box loss; its lines otherwise."""

    replaces = RegionProposalNetwork
    match_cache: TensorCache | None = None
    """Of the matches of anchors, where photos come again with the same boxes."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals (N, 4) of each image and, in training, the losses of objectness and of boxes."""
        if not self.training or targets is None:
            return super().forward(images, features, targets)
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        per_level = [level[0].numel() for level in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        decoded = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.filter_proposals(decoded, objectness, images.image_sizes, per_level)

        labels, matched_boxes = self.assign_targets_to_anchors(anchors, targets)
        labels = spare_ignored(labels, anchors, targets)
        positive_masks, negative_masks = self.fg_bg_sampler(labels)
        positive = torch.where(torch.cat(positive_masks))[0]
        positive_anchors = torch.cat(anchors)[positive]
        target_deltas = self.box_coder.encode_single(torch.cat(matched_boxes)[positive], positive_anchors)
        sampled = torch.cat([positive, torch.where(torch.cat(negative_masks))[0]])
        loss_rpn_box_reg = self.box_loss(
            deltas[positive],
            target_deltas,
            weights=self.box_coder.weights,
            anchors=positive_anchors,
            sampled=len(sampled),
            **self.context(positive, [len(boxes) for boxes in anchors], images.image_sizes),
        )
        logits = in_float(objectness.flatten()[sampled])
        # Where everything is ignored, torchvision's mean over nothing would be NaN.
        loss_objectness = (
            F.binary_cross_entropy_with_logits(logits, torch.cat(labels)[sampled]) if len(logits) else logits.sum()
        )
        return proposals, {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_rpn_box_reg}

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels (N,) and gt boxes (N, 4) of the anchors of each image: torchvision's, in less time.

        Labels are 1 for positives, 0 for negatives, and -1 for anchors that are neither.
        """
        labels, matched_boxes = [], []
        for each, target in zip(anchors, targets, strict=True):
            boxes = target["boxes"]
            matched = self._match(each, boxes)
            # Matcher has the index of a box for positives, -1 for negatives, -2 for neither.
            labels.append((matched.clamp(Matcher.BETWEEN_THRESHOLDS, 0) + 1).to(torch.float32))
            matched_boxes.append(boxes.index_select(0, matched.clamp(min=0)) if len(boxes) else torch.zeros_like(each))
        return labels, matched_boxes

    def _match(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Return the index of each anchor's gt box, or what of `Matcher` says that it has none."""
        if not len(boxes):
            return torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
        matcher = self.proposal_matcher
        if self.box_similarity is not box_iou or type(matcher) is not Matcher:  # someone's own
            return matcher(self.box_similarity(boxes, anchors))
        cache = self.match_cache if boxes.device.type == "cpu" else None  # a checksum would wait for a GPU
        key = f"{vars(matcher)}{tensor_digest(anchors, boxes)}" if cache else ""
        kept = cache.get(key) if cache else None
        if isinstance(kept, Tensor):
            return kept.to(torch.int64)
        matched = matcher(pairwise_iou(boxes, anchors))
        if cache and len(boxes) < torch.iinfo(torch.int16).max:
            cache.put(key, matched.to(torch.int16))
        return matched
