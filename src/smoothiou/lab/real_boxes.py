"""A fair successor of the regression experiment: real boxes, in the frame in which detectors learn.

The original has targets of one size, and its metric, L1 on (cx, cy, w, h), is what Huber descends. Here the targets
are the boxes of an annotation file. Around each stand anchors whose IoU with it is spread evenly over .1 to .9,
and the deltas run down each loss exactly as a detector calls it. Overlap is measured beside L1.

A loss's scale is arbitrary and plain descent feels it: so each loss is multiplied by one number that gives its first
gradient the mean norm of Huber's, and is run at a quarter and at four times that scale, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS, deltas_iou, encode_boxes
from smoothiou.errors import DataError, DivergedError, SmoothIoUError
from smoothiou.files import digest
from smoothiou.lab.descent import STEPS, Trace, descend
from smoothiou.lab.pairs import info_of, value_and_gradient
from smoothiou.losses import from_spec
from smoothiou.manifest import version

IOU_RANGE = (0.1, 0.9)
SPEEDS = (0.25, 1.0, 4.0)
"""Factors on every step."""

DeltaLoss = Callable[..., Tensor]
"""loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposals:
    """Anchors around real boxes, and the deltas from each to its box.

    Args:
        anchors: (K, 4) xyxy in pixels.
        targets: (K, 4) xyxy in pixels.
    """

    anchors: Tensor
    targets: Tensor

    @property
    def deltas(self) -> Tensor:
        """Return the target deltas (K, 4)."""
        return encode_boxes(self.targets, self.anchors)


def draw_proposals(gt_boxes: np.ndarray, *, cases: int, seed: int = 0) -> Proposals:
    """Return one anchor per case, shifted and resized until its IoU with its target is a number drawn evenly.

    Each case draws a direction (shifts along x and y in target sides, logarithms of two size factors, all even
    in [-1, 1]) and an IoU in [.1, .9]; how far it goes in that direction is then solved for by bisection.

    Args:
        gt_boxes: (N, 4) xyxy in pixels; every box is used equally often, give or take one.
        cases: K.
        seed: of order, directions and IoUs.

    Raises:
        DataError: no box at all, or one without an area.
    """
    gt_boxes = np.asarray(gt_boxes, dtype=np.float64).reshape(-1, 4)
    if not len(gt_boxes):
        raise DataError("There is no box to simulate with.")
    if not np.all(gt_boxes[:, 2:] > gt_boxes[:, :2]):
        raise DataError("A box without an area came to the simulation.", hint="Leave such boxes out.")
    random = np.random.default_rng(seed)
    order = random.permutation(len(gt_boxes))
    targets = gt_boxes[order[np.arange(cases) % len(gt_boxes)]]
    direction, iou = random.uniform(-1, 1, (cases, 4)), random.uniform(*IOU_RANGE, cases)
    near, far = np.zeros(cases), np.ones(cases)
    while np.any(too_near := _unit_iou(_moved(direction, far)) > iou):
        far[too_near] *= 2
    for _ in range(50):
        middle = (near + far) / 2
        too_far = _unit_iou(_moved(direction, middle)) < iou
        near, far = np.where(too_far, near, middle), np.where(too_far, middle, far)
    size, corner = np.tile(targets[:, 2:] - targets[:, :2], 2), np.tile(targets[:, :2], 2)
    anchors = corner + _moved(direction, near) * size
    return Proposals(anchors=torch.from_numpy(anchors).float(), targets=torch.from_numpy(targets).float())


def _moved(direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return corners (K, 4) in the frame where the target is the unit square."""
    step = direction * distance[:, None]
    half = 0.5 * np.exp(np.clip(step[:, 2:], -30, 30))
    return np.concatenate((0.5 + step[:, :2] - half, 0.5 + step[:, :2] + half), axis=1)


def _unit_iou(boxes: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes with the unit square."""
    overlap = np.prod(np.clip(np.minimum(boxes[:, 2:], 1) - np.maximum(boxes[:, :2], 0), 0, None), axis=1)
    return overlap / (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + 1 - overlap)


def delta_gradient(loss: DeltaLoss, deltas: Tensor, proposals: Proposals) -> Tensor:
    """Return the gradient (K, 4) of the sum of a loss, called as a detector calls it."""
    target = proposals.deltas
    return value_and_gradient(
        lambda leaf: loss(leaf, target, weights=DELTA_WEIGHTS, anchors=proposals.anchors), deltas
    )[1]  # fmt: skip


def descend_deltas(loss: DeltaLoss, proposals: Proposals, *, factor: float) -> Trace:
    """Run deltas down a loss for 200 steps from 0, the anchors: deltas -= rate * factor * dL/ddeltas.

    All cases are one batch: a loss with a batch lambda takes it over all of them.

    Raises:
        DivergedError: a delta became infinite or NaN.
    """
    target = proposals.deltas
    return descend(
        torch.zeros_like(target),
        target,
        direction=lambda deltas, iou: factor * delta_gradient(loss, deltas, proposals),
        iou=deltas_iou,
    )


def matching_factor(loss: DeltaLoss, proposals: Proposals, *, name: str) -> float:
    """Return the number that gives a loss's first gradient the mean norm of Huber's.

    Raises:
        SmoothIoUError: the loss has no gradient there.
    """
    start = torch.zeros_like(proposals.anchors)
    norm, huber = (
        delta_gradient(each, start, proposals).norm(dim=1).mean().item() for each in (loss, from_spec("huber"))
    )
    if not 0 < norm < float("inf"):
        raise SmoothIoUError(
            f"{name}: the mean norm of its first gradient is {norm:g}, which cannot be matched.",
            hint="Run it with --no-match-gradient.",
        )
    return huber / norm


def simulate_boxes(
    loss: str, gt_boxes: np.ndarray, *, source: str, cases: int, seed: int = 0, match_gradient: bool = True
) -> dict[str, Any]:
    """Run the successor with one loss on real boxes.

    Args:
        loss: as on the command line.
        gt_boxes: (N, 4) xyxy in pixels.
        source: where the boxes are from, for people.
        cases: anchors, spread over the boxes.
        seed: of the anchors.
        match_gradient: scale the loss to Huber's first gradient; if not, by its suggested weight.

    Returns:
        `speeds`: speed -> `Trace` as a dictionary, None where a faster or slower descent diverged; with `kind`,
        `loss`, `source`, `boxes`, `cases`, `seed`, `factor`, `match_gradient`, `seconds` and `signature`.

    Raises:
        ConfigError: there is no such loss.
        DivergedError: a delta became infinite or NaN at the loss's own scale.
    """
    began, proposals = time.monotonic(), draw_proposals(gt_boxes, cases=cases, seed=seed)
    weight = getattr(info_of(loss), "weight", 1.0)
    factor = matching_factor(from_spec(loss), proposals, name=loss) if match_gradient else weight
    speeds: dict[str, Any] = {}
    for speed in SPEEDS:
        try:  # loaded anew each time: a loss may be stateful
            speeds[f"{speed:g}"] = asdict(descend_deltas(from_spec(loss), proposals, factor=factor * speed))
        except DivergedError:
            if speed == 1:
                raise
            speeds[f"{speed:g}"] = None
    fingerprint = digest(np.asarray(gt_boxes, dtype=np.float64).tolist())
    parts = (f"loss:{loss}", f"cases:{cases}", f"boxes:{fingerprint}", f"seed:{seed}", f"matched:{match_gradient}")
    return {
        "kind": "boxes", "loss": loss, "source": source, "boxes": len(gt_boxes), "cases": cases, "seed": seed,
        "match_gradient": match_gradient, "factor": factor, "steps": STEPS, "speeds": speeds,
        "seconds": time.monotonic() - began,
        "signature": "|".join(("boxes descent", *parts, "float32", f"smoothiou:{version()}")),
    }  # fmt: skip
