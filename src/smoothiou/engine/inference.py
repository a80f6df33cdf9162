"""A detector over images, as plain arrays with everything that a metric needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothiou.detectors import detect
from smoothiou.engine.devices import Placement

Probe = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOutput:
    """A detector's output for one image; boxes are xyxy pixels of the image as it lies in the data set.

    Args:
        boxes, scores, labels: detections as a user gets them, (D, 4), (D,), (D,).
        raw_boxes: every second-stage box, no score threshold and no NMS, (at most `model.proposals`, 4).
        proposals: the first stage's boxes that these were refined from, as many.
        refined: the probes after the second stage, (P, 4).
        candidates: boxes, scores and labels of what is above the score threshold before NMS, where they were asked for.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    raw_boxes: np.ndarray
    proposals: np.ndarray
    refined: np.ndarray
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


def run_detector(
    model: nn.Module,
    images: Sequence[Tensor],
    *,
    probes: Sequence[Probe] | None = None,
    batch_size: int,
    placement: Placement,
    candidates: bool = False,
) -> Iterator[ImageOutput]:
    """Yield the output for each image of this process's shard, in order (see `shard`).

    Args:
        model: a detector in eval mode.
        images: uint8 tensors (3, H, W), read one batch at a time.
        probes: per image, boxes (P, 4) to refine and their labels (P,).
        batch_size: images at a time.
        placement: device, precision and rank.
        candidates: whether to keep them.
    """
    device = placement.device
    for batch in _batches(len(images), batch_size=batch_size, placement=placement):
        pixels = [images[i].to(device).float().div_(255) for i in batch]
        tensors = None if probes is None else [_to_device(probes[i], device) for i in batch]
        with torch.inference_mode(), placement.autocast():
            outputs = detect(model, pixels, probes=tensors, candidates=candidates)
        for output in outputs:
            arrays: dict[str, Any] = {key: value.float().cpu().numpy() for key, value in output.items()}
            yield ImageOutput(
                boxes=arrays["boxes"],
                scores=arrays["scores"],
                labels=arrays["labels"].astype(np.int64),
                raw_boxes=arrays["raw_boxes"],
                proposals=arrays["proposals"],
                refined=arrays.get("probe_boxes", np.zeros((0, 4), np.float32)),
                candidates=_candidates(arrays) if candidates else None,
            )


def _candidates(arrays: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes, scores, labels = (arrays[f"candidate_{key}"] for key in ("boxes", "scores", "labels"))
    return boxes, scores, labels.astype(np.int64)


def shard(images: int, *, batch_size: int, placement: Placement) -> list[int]:
    """Return the indices of the images that this process runs the detector on.

    Processes take whole batches in turn, so that an image meets the same neighbours, and comes out the same to the
    last bit, in any number of processes.

    Args:
        images: in all processes together.
        batch_size: images at a time.
        placement: with this process's rank.
    """
    return [index for batch in _batches(images, batch_size=batch_size, placement=placement) for index in batch]


def _batches(images: int, *, batch_size: int, placement: Placement) -> list[range]:
    starts = range(placement.rank * batch_size, images, placement.world_size * batch_size)
    return [range(start, min(start + batch_size, images)) for start in starts]


def _to_device(probe: Probe, device: torch.device) -> tuple[Tensor, Tensor]:
    boxes, labels = probe
    return torch.from_numpy(boxes).float().to(device), torch.from_numpy(labels).long().to(device)


def coco_rows(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, *, image_id: int) -> list[dict[str, Any]]:
    """Return boxes (D, 4) xyxy, scores (D,) and labels (D,) in COCO's results format; image and category ids from 1."""
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": [round(float(v), 3) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 6),
        }
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
