"""Checks of what a training would meet: batches without enough boxes, anchors that fit nothing. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from smoothiou.data.doctor.anchors import ANCHORS, best_iou
from smoothiou.data.doctor.case import Case
from smoothiou.data.doctor.facts import Example

LEAST = 8.0
"""Boxes in a batch, on average, below which the mean IoU of its positives says little about the detector."""
COVERED, SHARE = 0.5, 0.8
"""The share of boxes that should have an anchor of so much IoU."""
STRICT = 0.7
"""IoU at which the first stage calls an anchor positive whether or not it is a box's best."""


def few_boxes(case: Case) -> list[Example]:
    """A training split in whose batches lambda is the mean of a handful of boxes."""
    facts = boxes_in_batch(case)
    if facts is None or facts["boxes_per_batch"] >= LEAST:
        return []
    learnt = case.learnt()
    message = (
        f"{facts['boxes_per_image']:.2f} boxes per image make {facts['boxes_per_batch']:.1f} in a batch of "
        f"{case.config.train.batch_size} images"
    )
    return [Example(where=learnt, message=message)]


def boxes_in_batch(case: Case) -> dict[str, float] | None:
    """Return the mean number of boxes that are targets, per image and per batch; None without a training split."""
    learnt = case.learnt()
    if not learnt or not case.survey.splits[learnt]:
        return None
    mean = sum(case.counts(learnt).values()) / len(case.survey.splits[learnt])
    return {"boxes_per_image": mean, "boxes_per_batch": mean * case.config.train.batch_size}


def anchor_coverage(case: Case) -> list[Example]:
    """Boxes that no anchor of the detector overlaps by half, where they are many; the worst first."""
    found = best_anchors(case)
    if found is None or (found[1] >= COVERED).mean() >= SHARE:
        return []
    numbers, ious = found
    order = [place for place in np.argsort(ious, kind="stable") if ious[place] < COVERED]
    examples = []
    for place in order:
        entry, box = case.boxes.owner[numbers[place]]
        message = f"its best anchor has an IoU of {ious[place]:.2f}"
        examples.append(Example(where=box.where or entry.where, message=message, entry=entry, boxes=(box,)))
    return examples


def best_anchors(case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the numbers of the boxes that are targets, and of each the IoU of its best anchor at training size."""
    detector, boxes = case.config.model.name, case.boxes
    targets = np.array([not box.ignored for _, box in boxes.owner], dtype=bool) & boxes.usable
    if detector not in ANCHORS or not targets.any():
        return None
    scale = case.scales(boxes.size[targets])[:, None]
    return np.nonzero(targets)[0], best_iou(boxes.xyxy[targets] * scale, boxes.size[targets] * scale, detector=detector)


def training_facts(case: Case) -> dict[str, Any]:
    """Return the numbers behind these checks, whether or not they are bad."""
    found = best_anchors(case)
    model = case.config.model
    coverage = {f"{least:.1f}": float((found[1] >= least).mean()) for least in (COVERED, STRICT)} if found else {}
    return {
        **(boxes_in_batch(case) or {}),
        "batch_size": case.config.train.batch_size,
        "detector": model.name,
        "min_size": model.min_size,
        "max_size": model.max_size,
        "anchor_coverage": coverage,
    }


def no_boxes(case: Case) -> list[Example]:
    """Images whose annotation has no box."""
    return [
        Example(where=f"{entry.split}: {entry.name}", message="has no box", entry=entry)
        for entry in case.entries
        if entry.annotation == "read" and not entry.boxes
    ]


def head_boxes(case: Case) -> list[Example]:
    """The boxes of Oxford-IIIT Pet."""
    if "pets" not in case.survey.format.split("+"):
        return []
    return [
        Example(where=box.where, message="is the head", entry=entry, boxes=(box,))
        for entry in case.entries
        for box in entry.boxes
    ]
