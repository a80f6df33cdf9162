"""Proposals and detections in TensorFlow's order: suppression of boxes as they were decoded, then clipping.

torchvision clips first, so that two boxes that differ only outside the image suppress each other, and takes the first
1000 proposals only. Each class here replaces one method of torchvision's stages and reads its thresholds from the
stage, which stays torchvision's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

PER_CLASS = 100
"""Detections of one class in an image, at most."""


def best_after_nms(boxes: Tensor, scores: Tensor, *, iou: float, count: int) -> Tensor:
    """Return the indices of the first `count` boxes that greedy suppression keeps, best first.

    Whether a box is kept depends on better ones only, so the best `20 * count` boxes are enough where they yield
    `count`.

    Args:
        boxes: (K, 4) xyxy.
        scores: (K,).
        iou: overlap with a better box above which a box is suppressed.
        count: at most.
    """
    order = scores.argsort(descending=True, stable=True)
    for top in (min(20 * count, len(order)), len(order)):
        candidates = order[:top]
        kept = nms(boxes[candidates], scores[candidates], iou)
        if len(kept) >= count:
            break
    return candidates[kept[:count]]


@dataclass(frozen=True, eq=False)
class ProposalsClippedAfterNMS:
    """Replaces `filter_proposals` of a region proposal network.

    Args:
        rpn: with `GridAnchors`, whose unusable anchors yield no proposals.
    """

    rpn: RegionProposalNetwork

    def __call__(
        self, proposals: Tensor, objectness: Tensor, image_shapes: list[tuple[int, int]], num_anchors: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return boxes and scores of each image, best first.

        Args:
            proposals: decoded (images, anchors, 4).
            objectness: logits, (images * anchors, 1).
            image_shapes: (height, width) of each image.
            num_anchors: not used.
        """
        all_scores = objectness.detach().reshape(len(proposals), -1).sigmoid()
        anchors: Any = self.rpn.anchor_generator
        count = self.rpn.post_nms_top_n()
        results: list[tuple[Tensor, Tensor]] = []
        for boxes, scores, usable, shape in zip(proposals, all_scores, anchors.usable, image_shapes, strict=True):
            likely = torch.where((scores >= self.rpn.score_thresh) & usable)[0]
            boxes, scores = boxes[likely], scores[likely]
            kept = best_after_nms(boxes, scores, iou=self.rpn.nms_thresh, count=count)
            boxes, scores = clip_boxes_to_image(boxes[kept], shape), scores[kept]
            visible = remove_small_boxes(boxes, self.rpn.min_size)
            results.append((boxes[visible], scores[visible]))
        return [boxes for boxes, _ in results], [scores for _, scores in results]


@dataclass(frozen=True, eq=False)
class DetectionsClippedAfterNMS:
    """Replaces `postprocess_detections` of the second stage `heads`."""

    heads: RoIHeads

    def __call__(
        self, class_logits: Tensor, box_regression: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return boxes, scores and labels of each image, best first.

        Args:
            class_logits: (K, classes), background first.
            box_regression: (K, 4 * classes).
            proposals: of each image, K boxes together.
            image_shapes: (height, width) of each image.
        """
        counts = [len(boxes) for boxes in proposals]
        decoded = self.heads.box_coder.decode(box_regression, proposals)
        decoded = decoded.reshape(*class_logits.shape, 4).split(counts)  # no boxes at all come back in another shape
        scores = F.softmax(class_logits, dim=-1).split(counts)
        results = [self._one_image(*image) for image in zip(decoded, scores, image_shapes, strict=True)]
        return [each[0] for each in results], [each[1] for each in results], [each[2] for each in results]

    def _one_image(self, boxes: Tensor, scores: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        rows, labels = [], []
        for label in range(1, scores.shape[1]):
            likely = torch.where(scores[:, label] > self.heads.score_thresh)[0]
            kept = best_after_nms(
                boxes[likely, label], scores[likely, label], iou=self.heads.nms_thresh, count=PER_CLASS
            )
            rows.append(likely[kept])
            labels.append(torch.full_like(kept, label))
        row, label = torch.cat(rows), torch.cat(labels)
        order = scores[row, label].argsort(descending=True, stable=True)
        row, label = row[order], label[order]
        clipped = clip_boxes_to_image(boxes[row, label], shape)
        visible = remove_small_boxes(clipped, min_size=1e-2)[: self.heads.detections_per_img]
        row, label = row[visible], label[visible]
        return clipped[visible], scores[row, label], label
