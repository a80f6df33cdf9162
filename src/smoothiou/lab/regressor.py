"""The box regressor of a second stage on its own: from random weights to its end, on crops that are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothiou.boxes import aligned_iou, deltas_iou, encode_boxes
from smoothiou.detectors.box_loss import StageLoss
from smoothiou.engine.config import OptimConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.optim import learning_rate, set_learning_rate
from smoothiou.engine.seeding import seed_weights
from smoothiou.errors import ConfigError, DivergedError
from smoothiou.lab.crops import Crops

POINTS = 10
"""Times that a training is looked at, besides its start."""
CHUNK = 2048
EPSILON = 1e-15
"""Of AdamW, so small that a factor on the loss changes nothing: with the usual 1e-8 a loss of small gradients would be
slower. Losses are ranked by their shape alone."""
_BATCHES = 4


class Regressor(nn.Module):
    """Gives the deltas of each box for its own class, from its crop.

    Args:
        heads: the second stage of a trained detector (torchvision's RoIHeads); nothing of it is changed.
        depth: "head": the box head and the last layer learn, both from random weights. "last": only the last layer
            does, and crops are what the trained box head made of them (`hidden_crops`).

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

    def renew(self, *, seed: int) -> None:
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


def hidden_crops(crops: Crops, head: nn.Module, place: Placement) -> Crops:
    """Return the crops as a trained box head sees them, for a regressor of depth "last"."""
    with torch.no_grad(), _autocast(place):
        parts = [head(_as_input(part, place)) for part in crops.features.split(CHUNK)]
    return replace(crops, features=torch.cat(parts).to(crops.features.dtype))


def learn(
    regressor: Regressor,
    crops: Crops,
    test: Crops,
    loss: StageLoss,
    *,
    seed: int,
    steps: int,
    batch: int,
    rate: float,
    place: Placement,
    tell: Callable[[int, float], object],
) -> list[dict[str, float]]:
    """Train a regressor from random weights to its end, and return its curve.

    AdamW, a short rise and then half a cosine down to 0. Weights and batches follow from the seed alone. The loss is
    called as in a detector: deltas of the true class, the coder's weights, proposals as anchors, sum over the boxes /
    their number.

    Args:
        regressor: is renewed, and then trained in place.
        crops: what is learnt from.
        test: what the curve is measured on.
        loss: of the second stage.
        seed, steps, batch, rate: of the training; `batch` boxes a step.
        place: where to compute.
        tell: is told step and mean IoU on the test boxes at each point.

    Returns:
        [{"step", "train": mean IoU of the boxes learnt from since the point before, as they were predicted, "test":
        mean IoU of the test boxes}], the start first (its "train" is None).

    Raises:
        DivergedError: a prediction became NaN or infinite.
    """
    regressor.renew(seed=seed)
    regressor.train()
    groups = [
        {"params": [p for p in regressor.parameters() if p.ndim > 1], "weight_decay": OptimConfig().weight_decay},
        {"params": [p for p in regressor.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, eps=EPSILON, fused=True)
    schedule = OptimConfig(lr=rate, warmup=0.05)
    coder = regressor.box_coder
    targets = encode_boxes(crops.truths, crops.proposals, weights=coder.weights)
    curve: list[dict[str, Any]] = []
    seen: list[Tensor] = []

    def look(step: int) -> None:
        found = mean_iou(regressor, test, place=place)
        if not math.isfinite(found) or not all(math.isfinite(float(value)) for value in seen):
            raise DivergedError(f"{loss.name} seed {seed}: the prediction became NaN or infinite by step {step}.")
        train = float(torch.stack(seen).mean()) if seen else None
        curve.append({"step": step, "train": train, "test": found})
        seen.clear()
        tell(step, found)

    look(0)
    every = max(1, steps // POINTS)
    for step, rows in zip(range(steps), _batches(len(crops), batch=batch, seed=seed), strict=False):
        rows = rows.to(crops.labels.device)
        with _autocast(place):
            deltas = regressor(_as_input(crops.features[rows], place), crops.labels[rows])
        total = loss(deltas, targets[rows], weights=coder.weights, anchors=crops.proposals[rows], sampled=len(rows))
        optimizer.zero_grad()
        total.backward()
        set_learning_rate(optimizer, learning_rate(schedule, step=step, steps=steps))
        optimizer.step()
        seen.append(deltas_iou(deltas.detach(), targets[rows], weights=coder.weights).mean())
        if (step + 1) % every == 0 or step + 1 == steps:
            look(step + 1)
    return curve


def _batches(boxes: int, *, batch: int, seed: int) -> Iterator[Tensor]:
    """Give the rows of each step without end: an endless walk over permutations, cut into steps."""
    random = np.random.default_rng((_BATCHES, seed))
    walk = random.permutation(boxes)
    while True:
        while len(walk) < batch:
            walk = np.concatenate([walk, random.permutation(boxes)])
        yield torch.from_numpy(walk[:batch])
        walk = walk[batch:]


@torch.no_grad()
def refined_boxes(regressor: Regressor, crops: Crops, *, place: Placement) -> Tensor:
    """Return the boxes (N, 4) that a regressor makes of the proposals, clipped, in pixels of the resized image."""
    regressor.eval()
    with _autocast(place):
        deltas = torch.cat(
            [
                regressor(_as_input(features, place), labels)
                for features, labels in zip(crops.features.split(CHUNK), crops.labels.split(CHUNK), strict=True)
            ]
        )
    regressor.train()
    return torch.minimum(regressor.box_coder.decode_single(deltas, crops.proposals).clamp(min=0), crops.limits)


def mean_iou(regressor: Regressor, crops: Crops, *, place: Placement) -> float:
    """Return the mean IoU of the refined boxes with their truths."""
    return float(aligned_iou(refined_boxes(regressor, crops, place=place), crops.truths).mean())


def _as_input(features: Tensor, place: Placement) -> Tensor:
    # Autocast takes bfloat16 as it is; float16 is only how crops are kept.
    return features if place.precision == "bf16" else features.float()


def _autocast(place: Placement) -> torch.autocast:
    return torch.autocast(place.device.type, torch.bfloat16, enabled=place.precision == "bf16")
