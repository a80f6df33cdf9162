"""Checks of what a training would meet: batches without enough boxes, anchors that fit nothing. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from smoothiou.data.doctor.check import Checks
from smoothiou.data.doctor.survey import Anchors, Survey
from smoothiou.data.formats.base import Example
from smoothiou.words import counted

LEAST = 8.0
"""Boxes in a batch, on average, below which the mean IoU of its positives says little about the detector."""
COVERED_IOU, LEAST_COVERAGE = 0.5, 0.8
"""The share of boxes that should have an anchor of so much IoU."""
STRICT = 0.7
"""IoU at which the first stage calls an anchor positive whether or not it is a box's best."""
CHECKS = Checks()


@CHECKS.add("warning", quick=True)
def few_boxes(data: Survey) -> list[Example]:
    """A batch has fewer than 8 boxes on average: lambda, the mean IoU of its positives, jumps between steps.

    Fix: Raise --train.batch_size, or smooth lambda with --loss 'smooth-iou[lam=ema]'.
    """
    facts = _boxes_in_batch(data)
    if not facts or facts["boxes_per_batch"] >= LEAST:
        return []
    message = (
        f"{facts['boxes_per_image']:.2f} boxes per image make {facts['boxes_per_batch']:.1f} in a batch of "
        f"{counted(data.training.batch_size, 'image')}"
    )
    return [Example(where=data.train_split, message=message)]


@CHECKS.add("warning", quick=True)
def anchor_coverage(data: Survey) -> list[Example]:
    """Fewer than four in five boxes have an anchor with an IoU of .5 at training resolution.

    Fix: Change the resolution (--model.min_size, --model.max_size) or the detector (--model).
    """
    indices, ious = _best_anchors(data)
    if not len(ious) or (ious >= COVERED_IOU).mean() >= LEAST_COVERAGE:
        return []
    worst = [index for index in np.argsort(ious, kind="stable") if ious[index] < COVERED_IOU]
    owners = [(*data.boxes.owners[indices[index]], ious[index]) for index in worst]
    return [
        Example(
            where=box.where or entry.where,
            message=f"its best anchor has an IoU of {iou:.2f}",
            entry=entry,
            boxes=(box,),
        )
        for entry, box, iou in owners
    ]


@CHECKS.add("warning", quick=True)
def no_boxes(data: Survey) -> list[Example]:
    """An image has no box: it is trained as background.

    Fix: Make sure that nothing was forgotten in it.
    """
    return [
        Example(where=f"{entry.split}: {entry.name}", message="has no box", entry=entry)
        for entry in data.entries
        if entry.annotation == "read" and not entry.boxes
    ]


@CHECKS.add("warning")
def head_boxes(data: Survey) -> list[Example]:
    """The boxes of Oxford-IIIT Pet are the heads of the animals, not their bodies, which surprises people.

    Fix: Know it.
    """
    if "pets" not in data.format.split("+"):
        return []
    owners = ((entry, box) for entry in data.entries for box in entry.boxes)
    return [Example(where=box.where, message="is the head", entry=entry, boxes=(box,)) for entry, box in owners]


def training_facts(data: Survey) -> dict[str, Any]:
    """Return the numbers behind these checks, whether or not they are bad."""
    training = data.training
    _, ious = _best_anchors(data)
    coverage = {f"{least:.1f}": float((ious >= least).mean()) for least in (COVERED_IOU, STRICT)} if len(ious) else {}
    return {
        **_boxes_in_batch(data),
        "batch_size": training.batch_size,
        "detector": training.detector,
        "min_size": training.min_size,
        "max_size": training.max_size,
        "anchor_coverage": coverage,
        "nwd_constant": _mean_size(data),
    }


def _mean_size(data: Survey) -> float | None:
    """Return the mean of the square root of a target's area, in pixels of the resized image: the constant of NWD."""
    boxes = data.boxes
    (targets,) = np.nonzero(~boxes.ignored & boxes.usable)
    if not len(targets):
        return None
    sides = boxes.sides[targets] * data.scales(boxes.image_size[targets])[:, None]
    return float(np.sqrt(sides.prod(axis=1)).mean())


def _boxes_in_batch(data: Survey) -> dict[str, float]:
    """Return the mean number of boxes that are targets, per image and per batch; {} without a training split."""
    entries = data.splits.get(data.train_split)
    if not entries:
        return {}
    mean = data.counts(data.train_split).total() / len(entries)
    return {"boxes_per_image": mean, "boxes_per_batch": mean * data.training.batch_size}


def _best_anchors(data: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the boxes that are targets, and of each the IoU of its best anchor at training size."""
    boxes = data.boxes
    (targets,) = np.nonzero(~boxes.ignored & boxes.usable)
    if not data.training.anchors or not len(targets):
        return targets[:0], np.zeros(0)
    scale = data.scales(boxes.image_size[targets])[:, None]
    return targets, best_iou(boxes.xyxy[targets] * scale, boxes.image_size[targets] * scale, data.training.anchors)


def best_iou(boxes: np.ndarray, image_size: np.ndarray, anchors: Sequence[Anchors]) -> np.ndarray:
    """Return for each box the IoU of the anchor that fits it best, wherever on the maps it lies (N,).

    Of one anchor shape the overlap is largest where its centre is nearest along x and along y, so that one position
    per shape is enough.

    Args:
        boxes: corners in the resized image (N, 4), each with an area.
        image_size: width and height of the resized image of each (N, 2).
        anchors: of each feature map.
    """
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for level in anchors:
        last = np.maximum(np.ceil(image_size / level.stride), 1) - 1
        nearest = np.clip(np.round(centre / level.stride), 0, last) * level.stride
        for shape in level.sides:
            half = np.array(shape) / 2
            low = np.maximum(boxes[:, :2], nearest - half)
            high = np.minimum(boxes[:, 2:], nearest + half)
            inter = np.clip(high - low, 0, None).prod(axis=1)
            best = np.maximum(best, inter / (sides.prod(axis=1) + math.prod(shape) - inter))
    return best
