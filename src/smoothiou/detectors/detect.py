"""One pass of a detector over images: detections, boxes before scores and NMS, and refined probe boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import clip_boxes_to_image

from smoothiou.detectors.crops import Seen, Size, crop, evaluating, propose, see
from smoothiou.detectors.torchvision import check_stage
from smoothiou.errors import ConfigError


@torch.no_grad()
def detect(
    model: nn.Module, images: list[Tensor], *, probes: Sequence[tuple[Tensor, Tensor]] | None = None
) -> list[dict[str, Tensor]]:
    """Return what a detector sees, together with what its box regression alone does.

    Args:
        model: a torchvision Faster R-CNN; it runs in eval mode and is left in the mode it was in.
        images: float tensors (3, H, W) in [0, 1] on the model's device; sizes may differ.
        probes: for each image, boxes (P, 4) xyxy in its pixels and their labels (P,) from 1: the second stage
            refines them as if they were proposals.

    Returns:
        Per image, boxes xyxy in its pixels:
        "boxes", "scores", "labels": exactly what `model(images)` gives;
        "raw_boxes" (at most the model's proposals, 4): every second-stage box, decoded with its best
        foreground class, clipped, without score threshold and NMS;
        "probe_boxes" (P, 4), with `probes`: the probes, decoded with their own labels, clipped.

    Raises:
        ConfigError: no Faster R-CNN, or not one pair of probes per image.

    Reference:
        Smooth IoU, section 4.1 (mean IoU of the boxes of all images).
    """
    for stage in ("rpn", "roi"):
        check_stage(model, stage)
    if probes is not None and len(probes) != len(images):
        raise ConfigError(f"probes: expected one pair for each of {len(images)} images, got {len(probes)}.")
    if not images:
        return []
    with evaluating(model):
        return _detect(model, images, probes)


@torch.no_grad()
def refine(model: nn.Module, images: list[Tensor], probes: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return what the second stage alone makes of boxes that are given to it: `probe_boxes` of `detect`, faster.

    Args:
        model: a torchvision Faster R-CNN; it runs in eval mode and is left in the mode it was in.
        images: float tensors (3, H, W) in [0, 1] on the model's device; sizes may differ.
        probes: for each image, boxes (P, 4) xyxy in its pixels and their labels (P,) from 1.

    Returns:
        Per image, the probes (P, 4) decoded with their own labels, clipped, in its pixels.

    Raises:
        ConfigError: no Faster R-CNN.
    """
    check_stage(model, "roi")
    with evaluating(model):
        return _refine(model, see(model, images), probes)


def _detect(
    model: Any, images: list[Tensor], probes: Sequence[tuple[Tensor, Tensor]] | None
) -> list[dict[str, Tensor]]:
    # These lines are those of GeneralizedRCNN.forward and RoIHeads.forward, in their order, so that the
    # detections equal theirs to the last bit.
    seen = see(model, images)
    sizes, originals = seen.sizes, seen.originals
    proposals = propose(model, seen)
    heads = model.roi_heads
    class_logits, deltas = heads.box_predictor(heads.box_head(crop(model, seen, proposals)))
    boxes, scores, labels = heads.postprocess_detections(class_logits, deltas, proposals, sizes)
    results: list[dict[str, Tensor]] = [
        {"boxes": own, "labels": label, "scores": score}
        for own, score, label in zip(boxes, scores, labels, strict=True)
    ]
    results = model.transform.postprocess(results, sizes, originals)

    best = class_logits[:, 1:].argmax(dim=1) + 1  # class 0 is the background
    raw = _decode(heads, deltas, proposals, best, sizes, originals)
    for result, own in zip(results, raw, strict=True):
        result["raw_boxes"] = own
    if probes is not None:
        for result, own in zip(results, _refine(model, seen, probes), strict=True):
            result["probe_boxes"] = own
    return results


def _refine(model: Any, seen: Seen, probes: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Push probe boxes through the second stage.

    In a pass of their own: joined to the proposals they would change the order of sums, and so the last bits
    of the detections.
    """
    proposals = seen.resized([boxes for boxes, _ in probes])
    labels = torch.cat([label.to(proposals[0].device).reshape(-1) for _, label in probes])
    if len(labels) == 0:
        return proposals
    heads = model.roi_heads
    _, deltas = heads.box_predictor(heads.box_head(crop(model, seen, proposals)))
    return _decode(heads, deltas, proposals, labels, seen.sizes, seen.originals)


def _decode(
    heads: Any,
    deltas: Tensor,
    proposals: list[Tensor],
    labels: Tensor,
    sizes: list[Size],
    originals: list[Size],
) -> list[Tensor]:
    """Return the boxes (N, 4) of each image, of the class `labels`, clipped, in pixels of the original."""
    # The shape is spelled out because torchvision's decode does not split the classes of an empty batch.
    decoded = heads.box_coder.decode(deltas, proposals).reshape(len(labels), deltas.shape[1] // 4, 4)
    chosen = decoded[torch.arange(len(labels), device=labels.device), labels]
    per_image = chosen.split([len(own) for own in proposals])
    return [
        resize_boxes(clip_boxes_to_image(own, size), list(size), list(original))
        for own, size, original in zip(per_image, sizes, originals, strict=True)
    ]
