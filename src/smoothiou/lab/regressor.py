"""The box regressor of a second stage on its own: trained from random weights to its end, on stored crops."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smoothiou.boxes import aligned_iou, deltas_iou, encode_boxes
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.devices import Placement
from smoothiou.engine.optim import build_optimizer, learning_rate, set_learning_rate
from smoothiou.engine.sections import OptimConfig
from smoothiou.engine.seeding import seed_weights
from smoothiou.errors import ConfigError, DivergedError
from smoothiou.lab.crops import Crops

POINTS = 10
"""Evaluations during a training, besides the one at its start."""
CHUNK = 2048
EPSILON = 1e-15
"""Of AdamW, so small that a factor on the loss changes nothing: with the usual 1e-8 a loss of small gradients would be
slower. Losses are ranked by their shape alone."""
_STREAM = 4  # of random numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Refit:
    """How the regressors are trained; equal for all losses and seeds.

    Args:
        depth: "head": box head and last layer from random weights; "last": the last layer on the trained box head.
        steps: of each training.
        batch: boxes a step.
        rate: peak of the learning rate.
        boxes: crops to train on.
        test_boxes: probes to test on, where the split has more.
    """

    depth: Literal["head", "last"] = "head"
    steps: int = 600
    batch: int = 256
    rate: float = 0.001
    boxes: int = 64_000
    test_boxes: int = 20_000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "boxes", "test_boxes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')}: expected 1 or more, got {getattr(self, name)}.")
        if not 0 < self.rate < float("inf"):
            raise ConfigError(f"--rate: expected a number above 0, got {self.rate}.")


class Regressor(nn.Module):
    """Predicts the deltas of each box for its own class, from its crop.

    Args:
        heads: the second stage of a trained detector (torchvision's RoIHeads); nothing of it is changed.
        depth: "head": the box head and the last layer are trained. "last": only the last layer is, on crops that
            went through the trained box head (`hidden_crops`).

    Raises:
        ConfigError: a predictor without a layer `bbox_pred`.
    """

    def __init__(self, heads: Any, *, depth: str) -> None:
        super().__init__()
        last = getattr(heads.box_predictor, "bbox_pred", None)
        if not isinstance(last, nn.Linear):
            name = type(heads.box_predictor).__name__
            raise ConfigError(f"refit: {name} has no layer bbox_pred that could be trained alone.")
        self.head = copy.deepcopy(heads.box_head) if depth == "head" else nn.Identity()
        self.bbox_pred = copy.deepcopy(last)
        self.box_coder = heads.box_coder
        self.requires_grad_(True)

    def reset(self, *, seed: int) -> None:
        """Draw new weights for every layer, the same for one seed."""
        seed_weights(seed)
        for part in self.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return deltas (N, 4) in float32: in half precision they would err by as much as losses differ.

        Args:
            features: (N, ...) crops.
            labels: (N,) classes from 1.
        """
        hidden = self.head(features).float()
        with torch.autocast(hidden.device.type, enabled=False):
            deltas = self.bbox_pred(hidden).view(len(labels), -1, 4)
        return deltas[torch.arange(len(labels), device=labels.device), labels]


def hidden_crops(crops: Crops, head: nn.Module, placement: Placement) -> Crops:
    """Return the crops after a trained box head, for a regressor of depth "last"."""
    with torch.no_grad(), placement.autocast():
        parts = [head(_input(part, placement)) for part in crops.features.split(CHUNK)]
    return replace(crops, features=torch.cat(parts).to(crops.features.dtype))


def train_regressor(
    regressor: Regressor,
    crops: Crops,
    test: Crops,
    loss: StageLoss,
    settings: Refit,
    *,
    seed: int,
    placement: Placement,
    on_evaluation: Callable[[int, float], object],
) -> list[dict[str, float]]:
    """Train a regressor from random weights to its end, and return its curve.

    AdamW, a short rise and then half a cosine down to 0. Weights and batches follow from the seed alone. The loss is
    called as in a detector: deltas of the true class, the coder's weights, proposals as anchors, sum over the boxes /
    their number.

    Args:
        regressor: is reset, and then trained in place.
        crops: to train on.
        test: crops that the curve is measured on.
        loss: of the second stage.
        settings: steps, batch and learning rate.
        seed: of weights and batches.
        placement: device and precision.
        on_evaluation: called with step and mean IoU of the test boxes at each point.

    Returns:
        [{"step", "train": mean IoU of the training boxes since the point before, as they were predicted, "test": mean
        IoU of the test boxes}], the start first (its "train" is None).

    Raises:
        DivergedError: a prediction became NaN or infinite.
    """
    regressor.reset(seed=seed)
    regressor.train()
    steps, coder = settings.steps, regressor.box_coder
    optim = OptimConfig(lr=settings.rate, warmup=0.05)
    optimizer = build_optimizer(regressor, optim)
    for group in optimizer.param_groups:
        group["eps"] = EPSILON
    targets = encode_boxes(crops.gt_boxes, crops.proposals, weights=coder.weights)
    curve: list[dict[str, Any]] = []
    train_iou: list[Tensor] = []

    def evaluate(step: int) -> None:
        iou = mean_iou(regressor, test, placement=placement)
        train = float(torch.stack(train_iou).mean()) if train_iou else None
        if not math.isfinite(iou) or (train is not None and not math.isfinite(train)):
            raise DivergedError(f"{loss.name} seed {seed}: the prediction became NaN or infinite by step {step}.")
        curve.append({"step": step, "train": train, "test": iou})
        train_iou.clear()
        on_evaluation(step, iou)

    evaluate(0)
    every = max(1, steps // POINTS)
    for step, rows in zip(range(steps), _batches(len(crops), size=settings.batch, seed=seed), strict=False):
        rows = rows.to(crops.labels.device)
        with placement.autocast():
            deltas = regressor(_input(crops.features[rows], placement), crops.labels[rows])
        total = loss(
            deltas, targets[rows], weights=coder.weights, anchors=crops.proposals[rows], sampled=len(rows),
            image_sizes=crops.limits[rows][:, [1, 0]],
        )  # fmt: skip
        optimizer.zero_grad()
        total.backward()
        set_learning_rate(optimizer, learning_rate(optim, step=step, steps=steps))
        optimizer.step()
        train_iou.append(deltas_iou(deltas.detach(), targets[rows], weights=coder.weights).mean())
        if (step + 1) % every == 0 or step + 1 == steps:
            evaluate(step + 1)
    return curve


def _batches(boxes: int, *, size: int, seed: int) -> Iterator[Tensor]:
    """Yield the rows of each step without end: permutations in a row, cut into batches."""
    random = np.random.default_rng((_STREAM, seed))
    rows = random.permutation(boxes)
    while True:
        while len(rows) < size:
            rows = np.concatenate([rows, random.permutation(boxes)])
        yield torch.from_numpy(rows[:size])
        rows = rows[size:]


@torch.no_grad()
def refined_boxes(regressor: Regressor, crops: Crops, *, placement: Placement) -> Tensor:
    """Return the boxes (N, 4) that a regressor makes of the proposals, clipped, in pixels of the resized image."""
    regressor.eval()
    chunks = zip(crops.features.split(CHUNK), crops.labels.split(CHUNK), strict=True)
    with placement.autocast():
        deltas = torch.cat([regressor(_input(features, placement), labels) for features, labels in chunks])
    regressor.train()
    return torch.minimum(regressor.box_coder.decode_single(deltas, crops.proposals).clamp(min=0), crops.limits)


def mean_iou(regressor: Regressor, crops: Crops, *, placement: Placement) -> float:
    """Return the mean IoU of the refined boxes with their gt boxes."""
    return float(aligned_iou(refined_boxes(regressor, crops, placement=placement), crops.gt_boxes).mean())


def _input(features: Tensor, placement: Placement) -> Tensor:
    # Autocast takes bfloat16 as it is; float16 is only how crops are stored.
    return features if placement.precision == "bf16" else features.float()
