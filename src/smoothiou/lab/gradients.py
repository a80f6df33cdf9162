"""The gradients that boxes run down in the simulation: of a loss, by autograd, or those of the published code."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.lab.published import PUBLISHED, Published
from smoothiou.lab.share import CHUNK, Gradient
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import SmoothIoU, load_loss
from smoothiou.losses._base import PairLoss
from smoothiou.losses.huber import Huber
from smoothiou.losses.iou import IoU


def exact_gradient(spec: str) -> Gradient:
    """Return the gradient of a loss of the shelf, or of your own, as autograd finds it.

    Args:
        spec: a loss as on the command line: `giou`, `smooth-iou[lam=box]`, `package.module:object`.

    Raises:
        ConfigError: there is no such loss, or it cannot be taken of boxes without anchors.
    """
    name, options = parse_loss(spec)
    loss = load_loss(name, **options)
    if not callable(getattr(loss, "on_boxes", None)):
        raise ConfigError(
            f"{spec}: this loss has no `on_boxes`, and the boxes of this simulation have no anchors.",
            hint="Give its class on_boxes(pred, target, *, box_format), or simulate real boxes with --boxes.",
        )
    if isinstance(loss, SmoothIoU) and loss.lam == "batch":
        return LambdaOfAll(loss)
    gradient = LossGradient(loss)
    if _couples(gradient):
        gradient.chunk = None
    return gradient


def published_gradient(spec: str) -> Gradient:
    """Return what the published code takes for the gradient of a loss.

    Raises:
        ConfigError: the code has no such loss.
    """
    if spec not in PUBLISHED:
        raise ConfigError(f"{spec}: the published code has no such loss.", hint=did_you_mean(spec, PUBLISHED))
    return _PublishedGradient(PUBLISHED[spec])


class _Uncoupled:
    chunk: int | None = CHUNK

    def observe(self, boxes: Tensor, targets: Tensor) -> float:
        return 0.0

    def prepare(self, mean_iou: float, mean_observed: float) -> None:
        """Need nothing of other boxes."""


class _PublishedGradient(_Uncoupled):
    """The published ascent of the similarity, turned round."""

    def __init__(self, ascent: Published) -> None:
        self.ascent = ascent

    def __call__(self, boxes: Tensor, targets: Tensor) -> Tensor:
        return self.ascent(boxes, targets).neg_()


class LossGradient(_Uncoupled):
    """The derivative of a loss along (x, y, w, h), from one backward pass over the sum of a chunk.

    Args:
        loss: with `on_boxes`.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, boxes: Tensor, targets: Tensor) -> Tensor:
        """Return dL/dB (4, K)."""
        if not isinstance(self.loss, PairLoss):
            return _slope(boxes, lambda leaf: _on_boxes(self.loss, leaf, targets).sum())
        # Such a loss turns centres and sides into corners first. Done here, where rows lie side by side, that
        # and its derivative cost a fifth less.
        corners, target_corners = _corners(boxes), _corners(targets)
        low, high = _slope(corners, lambda leaf: self.loss.on_boxes(leaf.t(), target_corners.t()).sum()).split(2)
        return torch.cat((low + high, (high - low) * 0.5))


class LambdaOfAll(_Uncoupled):
    """The gradient of Smooth IoU with lambda the mean IoU of *all* boxes, of whatever chunk they are.

    Detached, lambda is a number and each box stands alone:

        dL/dB_k = lambda w dP_k/dB_k + (1 - lambda) dH_k/dB_k,    P = 1 - IoU, w its weight, H Huber

    With the gradient through lambda (`detach=False`) every box also moves lambda, and with it the loss of all
    others: mean(w P - H) dIoU_k/dB_k is added. Since dIoU = -dP, the factor of dP becomes

        lambda w - mean(w P - H) = w (2 lambda - 1) + mean H.

    Args:
        loss: with `lam="batch"`.
    """

    def __init__(self, loss: SmoothIoU) -> None:
        self.through_lambda = not loss.rule.detach
        self.iou_weight = loss.iou_weight
        self.overlap, self.huber = LossGradient(IoU()), LossGradient(Huber(delta=loss.delta))
        self.pull, self.rest = 0.0, 1.0

    def __call__(self, boxes: Tensor, targets: Tensor) -> Tensor:
        """Return dL/dB (4, K)."""
        return self.overlap(boxes, targets).mul_(self.pull).add_(self.huber(boxes, targets), alpha=self.rest)

    def observe(self, boxes: Tensor, targets: Tensor) -> float:
        """Return the sum of Huber, where it is needed."""
        return float(_on_boxes(self.huber.loss, boxes, targets).sum()) if self.through_lambda else 0.0

    def prepare(self, mean_iou: float, mean_observed: float) -> None:
        """Take lambda from the boxes as they stand."""
        self.rest = 1 - mean_iou
        self.pull = self.iou_weight * mean_iou
        if self.through_lambda:
            self.pull = self.iou_weight * (2 * mean_iou - 1) + mean_observed


def _corners(boxes: Tensor) -> Tensor:
    centre, half = boxes[:2], boxes[2:] * 0.5
    return torch.cat((centre - half, centre + half))


def _on_boxes(loss: Any, boxes: Tensor, targets: Tensor) -> Tensor:
    return loss.on_boxes(boxes.t(), targets.t(), box_format="cxcywh")


def _slope(boxes: Tensor, of: Any) -> Tensor:
    leaf = boxes.detach().requires_grad_()
    return torch.autograd.grad(of(leaf), leaf)[0]


def _couples(gradient: LossGradient) -> bool:
    """Return whether a box's gradient depends on which others come with it, as a mean over a batch makes it."""
    generator = torch.Generator().manual_seed(0)
    boxes, targets = (torch.rand((4, 16), generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    gradient = copy.deepcopy(gradient)  # a loss may remember what it has seen
    together = gradient(boxes, targets)
    apart = torch.cat([gradient(boxes[:, half], targets[:, half]) for half in (slice(0, 5), slice(5, 16))], dim=1)
    return not torch.allclose(together, apart, rtol=1e-4, atol=1e-6)
