"""Run a detector over a split once and keep, as plain arrays, everything that a metric may want."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Probe = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOutput:
    """What a detector says of one image; boxes are xyxy pixels of the image as it lies in the data set.

    Args:
        boxes, scores, labels: detections as a user gets them, (D, 4), (D,), (D,).
        raw_boxes: every second-stage box, no score threshold and no NMS, (at most 300, 4).
        refined: the probes after the second stage, (P, 4).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    raw_boxes: np.ndarray
    refined: np.ndarray


def run_detector(
    detect: Callable[..., list[dict[str, Tensor]]],
    images: Sequence[Tensor],
    *,
    probes: Sequence[Probe],
    batch_size: int,
    device: torch.device,
    precision: str,
) -> Iterator[ImageOutput]:
    """Give the output for each image, in order.

    Args:
        detect: `detect(images, probes=...)`, see `smoothiou.detectors.detect`.
        images: uint8 tensors (3, H, W), read one batch at a time.
        probes: per image, boxes (P, 4) to refine and their labels (P,).
        batch_size, device, precision: how to compute.
    """
    for start in range(0, len(images), batch_size):
        stop = min(start + batch_size, len(images))
        inputs = [images[i].to(device).float().div_(255) for i in range(start, stop)]
        wanted = [_to_device(probe, device) for probe in probes[start:stop]]
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = detect(inputs, probes=wanted)
        for output in outputs:
            arrays: dict[str, Any] = {key: value.float().cpu().numpy() for key, value in output.items()}
            yield ImageOutput(
                boxes=arrays["boxes"],
                scores=arrays["scores"],
                labels=arrays["labels"].astype(np.int64),
                raw_boxes=arrays["raw_boxes"],
                refined=arrays["probe_boxes"],
            )


def _to_device(probe: Probe, device: torch.device) -> tuple[Tensor, Tensor]:
    boxes, labels = probe
    return torch.from_numpy(boxes).float().to(device), torch.from_numpy(labels).long().to(device)


def coco_results(outputs: Sequence[ImageOutput]) -> list[dict[str, Any]]:
    """Return detections in COCO's results format; image and category ids count from 1."""
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": [round(float(v), 3) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 6),
        }
        for image_id, output in enumerate(outputs, 1)
        for box, score, label in zip(output.boxes, output.scores, output.labels, strict=True)
    ]
