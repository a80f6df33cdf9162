"""One pass of a detector over images: detections, boxes before scores and NMS, and refined probe boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from smoothiou.detectors.features import ImageFeatures, eval_mode, extract_features, propose, second_stage
from smoothiou.detectors.hosts import check_stages
from smoothiou.errors import ConfigError


@torch.no_grad()
def detect(
    model: nn.Module,
    images: list[Tensor],
    *,
    probes: Sequence[tuple[Tensor, Tensor]] | None = None,
    candidates: bool = False,
) -> list[dict[str, Tensor]]:
    """Return a detector's detections, and what its box regression alone does.

    Args:
        model: a torchvision Faster R-CNN; it runs in eval mode and is left in the mode it was in.
        images: float tensors (3, H, W) in [0, 1] on the model's device; sizes may differ.
        probes: for each image, boxes (P, 4) xyxy in its pixels and their labels (P,) from 1: the second stage
            refines them as if they were proposals.
        candidates: whether to return them too.

    Returns:
        Per image, boxes xyxy in its pixels:
        "boxes", "scores", "labels": exactly what `model(images)` gives, masks and keypoints aside;
        "raw_boxes" (at most the model's proposals, 4): every second-stage box, decoded with its best
        foreground class, clipped, without score threshold and NMS;
        "proposals", as many: the first stage's boxes that these were refined from;
        "probe_boxes" (P, 4), with `probes`: the probes, decoded with their own labels, clipped;
        "candidate_boxes", "candidate_scores", "candidate_labels", with `candidates`: every second-stage box with every
        class whose score is above the model's threshold, clipped, before NMS.

    Raises:
        ConfigError: no two-stage detector, or not one pair of probes per image.

    Reference:
        Smooth IoU, section 4.1 (mean IoU of the boxes of all images).
    """
    check_stages(model, ("rpn", "roi"))  # a one-stage detector has neither
    if probes is not None and len(probes) != len(images):
        raise ConfigError(f"probes: expected one pair for each of {len(images)} images, got {len(probes)}.")
    if not images:
        return []
    with eval_mode(model):
        return _detect(model, images, probes, candidates)


@torch.no_grad()
def refine(model: nn.Module, images: list[Tensor], probes: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return `probe_boxes` of `detect` alone, faster.

    Args:
        model: a two-stage detector; it is left in the mode in which it was.
        images: as for `detect`.
        probes: as for `detect`.

    Returns:
        Per image, the probes (P, 4) decoded with their own labels, clipped, in its pixels.

    Raises:
        ConfigError: no two-stage detector.
    """
    check_stages(model, ("roi",))
    with eval_mode(model):
        return _refine(model, extract_features(model, images), probes)


def _detect(
    model: Any, images: list[Tensor], probes: Sequence[tuple[Tensor, Tensor]] | None, candidates: bool
) -> list[dict[str, Tensor]]:
    # These lines are those of GeneralizedRCNN.forward and RoIHeads.forward, in their order, so that the
    # detections equal theirs to the last bit.
    features = extract_features(model, images)
    proposals = propose(model, features)
    heads = model.roi_heads
    class_logits, deltas, boxes_before = second_stage(model, features, proposals)
    detections = heads.postprocess_detections(class_logits, deltas, boxes_before, features.sizes)
    results: list[dict[str, Tensor]] = [
        {"boxes": boxes, "labels": labels, "scores": scores} for boxes, scores, labels in zip(*detections, strict=True)
    ]
    results = model.transform.postprocess(results, features.sizes, features.originals)

    best = class_logits[:, 1:].argmax(dim=1) + 1  # class 0 is the background
    for result, boxes in zip(results, _decode(heads, deltas, boxes_before, best, features), strict=True):
        result["raw_boxes"] = boxes
    for result, boxes in zip(results, _in_pixels(proposals, features), strict=True):
        result["proposals"] = boxes
    if probes is not None:
        for result, boxes in zip(results, _refine(model, features, probes), strict=True):
            result["probe_boxes"] = boxes
    if candidates:
        for result, entry in zip(
            results, _candidates(heads, class_logits, deltas, boxes_before, features), strict=True
        ):
            result |= entry
    return results


def _refine(model: Any, features: ImageFeatures, probes: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    # In a pass of their own: joined to the proposals they would change the order of sums, and so the last bits of the
    # detections.
    proposals = features.resize([boxes for boxes, _ in probes])
    labels = torch.cat([label.to(proposals[0].device).reshape(-1) for _, label in probes])
    if len(labels) == 0:
        return proposals
    heads = model.roi_heads
    _, deltas, boxes_before = second_stage(model, features, proposals)
    return _decode(heads, deltas, boxes_before, labels, features)


def _candidates(
    heads: Any, class_logits: Tensor, deltas: Tensor, boxes_before: list[Tensor], features: ImageFeatures
) -> list[dict[str, Tensor]]:
    """Return what `postprocess_detections` gives to NMS: per image, a box for each class that it may be of."""
    scores = class_logits.softmax(-1)
    counts = [len(boxes) for boxes in boxes_before]
    decoded = heads.box_coder.decode(deltas, boxes_before).reshape(len(scores), scores.shape[1], 4)
    entries = []
    for index, (boxes, values) in enumerate(zip(decoded.split(counts), scores.split(counts), strict=True)):
        rows, labels = torch.where(values[:, 1:] > heads.score_thresh)
        labels = labels + 1  # class 0 is the background
        size, original = features.sizes[index], features.originals[index]
        clipped = clip_boxes_to_image(boxes[rows, labels], size)
        large = remove_small_boxes(clipped, min_size=1e-2)
        entries.append(
            {
                "candidate_boxes": resize_boxes(clipped[large], list(size), list(original)),
                "candidate_scores": values[rows, labels][large],
                "candidate_labels": labels[large],
            }
        )
    return entries


def _decode(
    heads: Any, deltas: Tensor, proposals: list[Tensor], labels: Tensor, features: ImageFeatures
) -> list[Tensor]:
    """Return the boxes (N, 4) of each image, of the class `labels`, clipped, in pixels of the original."""
    # The shape is spelled out because torchvision's decode does not split the classes of an empty batch.
    decoded = heads.box_coder.decode(deltas, proposals).reshape(len(labels), deltas.shape[1] // 4, 4)
    chosen = decoded[torch.arange(len(labels), device=labels.device), labels]
    return _in_pixels(chosen.split([len(boxes) for boxes in proposals]), features)


def _in_pixels(boxes: Sequence[Tensor], features: ImageFeatures) -> list[Tensor]:
    """Return the boxes (N, 4) of each image, clipped, in pixels of the original."""
    return [
        resize_boxes(clip_boxes_to_image(each, size), list(size), list(original))
        for each, size, original in zip(boxes, features.sizes, features.originals, strict=True)
    ]
