"""Proposals and detections in TensorFlow's order: suppression of boxes as they were decoded, then clipping.

torchvision clips first, so that two boxes that differ only outside the image suppress each other, and takes the first
1000 proposals only. Each class here replaces one method of torchvision's stages and reads its thresholds from the
stage, whose own class belongs to its box loss. An exported detector has no box loss: there the stages are of the
classes `RPNClippedAfterNMS` and `RoIHeadsClippedAfterNMS`, whose code TorchScript and ONNX read, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchvision
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
    if torchvision._is_tracing():  # which would keep one of the two ways below
        return nms(boxes, scores, iou)[:count]
    order = scores.argsort(descending=True, stable=True)
    candidates = order[: 20 * count]
    kept = nms(boxes[candidates], scores[candidates], iou)
    if len(kept) < count and len(candidates) < len(order):
        candidates = order
        kept = nms(boxes[candidates], scores[candidates], iou)
    return candidates[kept[:count]]


class RPNClippedAfterNMS(RegionProposalNetwork):
    """A first stage with `GridAnchors`, whose unusable anchors yield no proposals."""

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return boxes and scores of each image, best first.

        Args:
            proposals: decoded (images, anchors, 4).
            objectness: logits, (images * anchors, 1).
            image_shapes: (height, width) of each image.
            num_anchors_per_level: not used.
        """
        all_scores = objectness.detach().reshape(proposals.shape[0], -1).sigmoid()
        all_usable: list[Tensor] = self.anchor_generator.usable  # pyright: ignore[reportAssignmentType]
        kept_boxes: list[Tensor] = []
        kept_scores: list[Tensor] = []
        for number, shape in enumerate(image_shapes):
            likely = torch.where((all_scores[number] >= self.score_thresh) & all_usable[number])[0]
            boxes, scores = proposals[number][likely], all_scores[number][likely]
            kept = best_after_nms(boxes, scores, iou=self.nms_thresh, count=self.post_nms_top_n())
            boxes, scores = clip_boxes_to_image(boxes[kept], shape), scores[kept]
            visible = remove_small_boxes(boxes, self.min_size)
            kept_boxes.append(boxes[visible])
            kept_scores.append(scores[visible])
        return kept_boxes, kept_scores


class RoIHeadsClippedAfterNMS(RoIHeads):
    """A second stage of one head and predictor."""

    def postprocess_detections(
        self, class_logits: Tensor, box_regression: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return boxes, scores and labels of each image, best first.

        Args:
            class_logits: (K, classes), background first.
            box_regression: (K, 4 * classes).
            proposals: of each image, K boxes together.
            image_shapes: (height, width) of each image.
        """
        counts = [boxes.shape[0] for boxes in proposals]
        decoded = self.box_coder.decode(box_regression, proposals)
        # No boxes at all come back in another shape.
        decoded = decoded.reshape(class_logits.shape[0], class_logits.shape[1], 4).split(counts)
        scores = F.softmax(class_logits, dim=-1).split(counts)
        kept_boxes: list[Tensor] = []
        kept_scores: list[Tensor] = []
        kept_labels: list[Tensor] = []
        for number, shape in enumerate(image_shapes):
            row, label = _rows_and_labels(decoded[number], scores[number], score=self.score_thresh, iou=self.nms_thresh)
            boxes = clip_boxes_to_image(decoded[number][row, label], shape)
            visible = remove_small_boxes(boxes, min_size=1e-2)[: self.detections_per_img]
            row, label = row[visible], label[visible]
            kept_boxes.append(boxes[visible])
            kept_scores.append(scores[number][row, label])
            kept_labels.append(label)
        return kept_boxes, kept_scores, kept_labels


def _rows_and_labels(
    boxes: Tensor, scores: Tensor, score: float, iou: float, count: int = PER_CLASS
) -> tuple[Tensor, Tensor]:
    """Return what suppression within each class keeps of boxes (K, classes, 4), as (N,) rows and labels, best first."""
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    for label in range(1, scores.shape[1]):
        likely = torch.where(scores[:, label] > score)[0]
        kept = best_after_nms(boxes[likely, label], scores[likely, label], iou=iou, count=count)
        rows.append(likely[kept])
        labels.append(torch.full_like(kept, label))
    all_rows, all_labels = torch.cat(rows), torch.cat(labels)
    order = _best_first(scores[all_rows, all_labels])
    return all_rows[order], all_labels[order]


def _best_first(scores: Tensor) -> Tensor:
    """Return the indices of scores from the highest, equal ones in their order."""
    if torchvision._is_tracing():  # ONNX keeps that order, but its exporter misreads `stable`
        return scores.argsort(descending=True)
    return scores.argsort(descending=True, stable=True)


@dataclass(frozen=True, eq=False)
class ProposalsClippedAfterNMS:
    """Replaces `filter_proposals` of a region proposal network by that of `RPNClippedAfterNMS`."""

    rpn: RegionProposalNetwork

    def __call__(self, *arguments: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Return boxes and scores of each image, best first."""
        rpn: Any = self.rpn
        return RPNClippedAfterNMS.filter_proposals(rpn, *arguments)


@dataclass(frozen=True, eq=False)
class DetectionsClippedAfterNMS:
    """Replaces `postprocess_detections` of the second stage `heads` by that of `RoIHeadsClippedAfterNMS`."""

    heads: RoIHeads

    def __call__(self, *arguments: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return boxes, scores and labels of each image, best first."""
        heads: Any = self.heads
        return RoIHeadsClippedAfterNMS.postprocess_detections(heads, *arguments)
