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
    rank: int = 0,
    world: int = 1,
) -> Iterator[ImageOutput]:
    """Give the output for each image, in order; where several processes share the images, for those of `own_images`.

    Args:
        detect: `detect(images, probes=...)`, see `smoothiou.detectors.detect`.
        images: uint8 tensors (3, H, W), read one batch at a time.
        probes: per image, boxes (P, 4) to refine and their labels (P,).
        batch_size, device, precision: how to compute.
        rank, world: this process and the number of processes.
    """
    for batch in _own_batches(len(images), batch_size=batch_size, rank=rank, world=world):
        start, stop = batch.start, batch.stop
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


def own_images(images: int, *, batch_size: int, rank: int, world: int) -> list[int]:
    """Return the numbers, from 0, of the images that one of several processes runs the detector on.

    Processes share whole batches, so that an image meets the same neighbours, and comes out the same to the last bit,
    in any number of processes.

    Args:
        images: in all processes together.
        batch_size: images at a time.
        rank, world: this process and the number of processes.
    """
    batches = _own_batches(images, batch_size=batch_size, rank=rank, world=world)
    return [number for batch in batches for number in batch]


def _own_batches(images: int, *, batch_size: int, rank: int, world: int) -> list[range]:
    starts = range(rank * batch_size, images, world * batch_size)
    return [range(start, min(start + batch_size, images)) for start in starts]


def _to_device(probe: Probe, device: torch.device) -> tuple[Tensor, Tensor]:
    boxes, labels = probe
    return torch.from_numpy(boxes).float().to(device), torch.from_numpy(labels).long().to(device)


def coco_results(output: ImageOutput, *, image_id: int) -> list[dict[str, Any]]:
    """Return the detections of an image in COCO's results format; image and category ids count from 1."""
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": [round(float(v), 3) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 6),
        }
        for box, score, label in zip(output.boxes, output.scores, output.labels, strict=True)
    ]
