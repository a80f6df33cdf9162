"""How strongly a box loss pulls at the deltas that a detector predicts, on the positives that it would train on."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from smoothiou.boxes import Weights, in_float
from smoothiou.detectors.hosts import stages_of
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.devices import Placement
from smoothiou.engine.loop import Batch, to_device
from smoothiou.engine.seeding import seed_step
from smoothiou.lab.pairs import value_and_gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class Positives:
    """Arguments of the box loss of one stage in one step.

    Args:
        pred_deltas: (K, 4) of the positives, of their own class where there are classes.
        target_deltas: (K, 4).
        weights: the coder's.
        anchors: (K, 4) xyxy, what the deltas are relative to.
        sampled: number of sampled boxes, positive and negative, in all images together.
        images: (N, K) whether positive k is of image n.
        image_sizes: (K, 2) height and width of the image of positive k.
    """

    pred_deltas: Tensor
    target_deltas: Tensor
    weights: Weights
    anchors: Tensor
    sampled: float
    images: Tensor | None = None
    image_sizes: Tensor | None = None


def capture_positives(
    model: nn.Module, batches: Iterable[Batch], *, stages: Sequence[str], seed: int, start: int, placement: Placement
) -> dict[str, list[Positives]]:
    """Return what a training step would hand to each stage's box loss, without taking the step.

    The forward is that of training (batch norm, sampling, precision), on a copy: model and losses stay as they are.

    Args:
        model: a detector of `build_detector`.
        batches: one (images uint8, targets) per step.
        stages: "rpn", "roi" or both.
        seed: of the run; decides what is sampled.
        start: step of the run that the first batch belongs to; decides what is sampled.
        placement: device and precision.

    Returns:
        By stage, one entry per batch.
    """
    model_copy: Any = copy.deepcopy(model).train()
    recorders = {stage: _Recorder(loss=_NeedsAllArguments(), name=stage) for stage in stages}
    for stage, recorder in recorders.items():
        model_copy.get_submodule(stages_of(model_copy)[stage].path).box_loss = recorder
    with torch.no_grad():
        for step, (images, targets) in enumerate(batches, start):
            seed_step(seed, step)
            with placement.autocast():
                model_copy(*to_device(images, targets, placement.device))
    return {stage: recorder.calls for stage, recorder in recorders.items()}


def pulls(loss: StageLoss, positives: Positives) -> Tensor:
    """Return how strongly a loss pulls at each positive: the length of its gradient by the box's four deltas.

        pull_k = S * | d L / d (t_k1, ..., t_k4) |,    L = sum of the losses of all positives / S

    L is the stage's loss exactly as training computes it, in float32 outside autocast, S the number of sampled boxes.
    S is the same for every loss; times S, a pull does not depend on how many boxes a stage samples.

    Args:
        loss: of the stage.
        positives: K boxes of one step.

    Returns:
        (K,) float64.
    """
    if not len(positives.pred_deltas):
        return torch.zeros(0, dtype=torch.float64)
    others: dict[str, Any] = {
        name: getattr(positives, name) for name in ("weights", "anchors", "sampled", "images", "image_sizes")
    }  # fmt: skip
    _, gradient = value_and_gradient(
        lambda pred: loss(pred, positives.target_deltas, **others), positives.pred_deltas
    )  # fmt: skip
    return gradient.double().mul(positives.sampled).norm(dim=1).cpu()


class _NeedsAllArguments:
    """A loss that is never called: it makes a stage pass every argument that it can."""

    needs_images = True
    needs_image_sizes = True

    def __call__(self, *deltas: Tensor, **others: Any) -> Tensor:
        raise NotImplementedError


@dataclass(eq=False, kw_only=True)
class _Recorder(StageLoss):
    """Takes the place of a stage's box loss, and records the arguments of every call."""

    calls: list[Positives] = field(default_factory=list)

    def __call__(self, pred_deltas: Tensor, target_deltas: Tensor, **others: Any) -> Tensor:
        pred = in_float(pred_deltas).detach().clone()
        target = target_deltas.detach().to(pred.dtype)
        others = {**others, "anchors": others["anchors"].detach()}
        self.calls.append(Positives(pred_deltas=pred, target_deltas=target, **others))
        return pred.sum() * 0
