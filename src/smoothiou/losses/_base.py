"""What the losses share: the check of their inputs, two ways to be computed, and a sum that cannot overflow.

A loss is any callable loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,). It does not reduce: the
detector divides the sum by the number of positives or of sampled boxes, as it always did.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import CODE_WEIGHTS, Measure, Weights
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.losses.catalogue import LossCard

BoxLoss = Callable[..., Tensor]

FRAMES = ("pixels", "anchor")

# Four codes of this size still have a finite sum in float32.
LARGEST_CODE_LOSS = 1e37


class CodeLoss(nn.Module, ABC):
    """A loss of the differences of four codes, each for itself."""

    card: ClassVar[LossCard]

    @abstractmethod
    def of_codes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss (K,) of codes (K, 4) in float32 or float64."""

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss (K,) of deltas (K, 4); it needs neither weights nor anchors."""
        return self.of_codes(*float_pair(pred_deltas, target_deltas))

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Return the loss (K,) of boxes (K, 4): of their four numbers as they are, in the boxes' own unit."""
        check_format(box_format)
        return self.of_codes(*float_pair(pred, target))


class PairLoss(nn.Module):
    """A loss of how two boxes lie to each other."""

    card: ClassVar[LossCard]
    measure: Measure
    """Gives the loss (K,) of pairs, and its slopes."""

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss (K,) of the boxes that deltas stand for.

        Args:
            pred_deltas: (K, 4) predicted deltas of the positive boxes.
            target_deltas: (K, 4) deltas of their targets.
            weights: factors that the deltas were multiplied by.
            anchors: (K, 4) anchors or proposals in pixels; not used where the card says frame "any".

        Raises:
            ConfigError: shapes or types are wrong.
        """
        check_pair(pred_deltas, target_deltas)
        require_constant(target_deltas, symmetric=self.card.symmetric)
        anchors = anchors if getattr(self, "frame", "anchor") == "pixels" else None
        if anchors is not None and anchors.shape != pred_deltas.shape:
            raise ConfigError(
                f"anchors: expected one for each of {len(pred_deltas)} boxes, got shape {tuple(anchors.shape)}."
            )
        return boxes.on_deltas(self.measure, pred_deltas, target_deltas, weights=weights, anchors=anchors)

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Return the loss (K,) of boxes (K, 4)."""
        return of_boxes(self.measure, pred, target, symmetric=self.card.symmetric, box_format=box_format)


class FramedLoss(PairLoss):
    """A loss that mixes lengths along x with lengths along y, and so must know in which frame they are measured."""

    def __init__(self, frame: str = "pixels") -> None:
        super().__init__()
        self.frame = require_one_of("frame", frame, FRAMES)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"frame={self.frame!r}"


def of_boxes(
    measure: Measure,
    pred: Tensor,
    target: Tensor,
    reduction: str = "none",
    *,
    symmetric: bool,
    box_format: str = "xyxy",
) -> Tensor:
    """Return a loss of overlap of boxes (K, 4), reduced."""
    check_pair(pred, target)
    require_constant(target, symmetric=symmetric)
    gradient_dtype = pred.dtype
    if box_format != "xyxy":
        pred, target = (boxes.to_xyxy(rows, box_format=box_format) for rows in boxes.in_one_type(pred, target))
    return reduced(boxes.on_boxes(measure, pred, target, gradient_dtype=gradient_dtype), reduction)


def float_pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions and targets in one dtype of at least float32.

    Raises:
        ConfigError: as `check_pair`.
    """
    check_pair(pred, target)
    return boxes.in_one_type(pred, target)


def check_pair(pred: Tensor, target: Tensor) -> None:
    """Refuse predictions and targets that no box loss can take.

    Raises:
        ConfigError: the shapes are not (K, 4) and (K, 4), or the numbers are no floating point numbers.
    """
    if pred.ndim != 2 or pred.shape[-1] != 4 or pred.shape != target.shape:
        raise ConfigError(
            "A box loss expected predictions and targets of one shape (K, 4), "
            f"got {tuple(pred.shape)} and {tuple(target.shape)}.",
            hint="Pass only the positive boxes, row k of the predictions with row k of the targets.",
        )
    if not (pred.is_floating_point() and target.is_floating_point()):
        raise ConfigError(
            f"A box loss expected floating point numbers, got {pred.dtype} and {target.dtype}.",
            hint="Convert them first: boxes.float().",
        )


def require_constant(target: Tensor, *, symmetric: bool) -> None:
    """Refuse a target that learns, where the loss tells prediction and target apart.

    Raises:
        ConfigError: it does.
    """
    if target.requires_grad and not symmetric and torch.is_grad_enabled():
        raise ConfigError(
            "The targets ask for a gradient, which this loss has for predictions only.",
            hint="Pass targets.detach().",
        )


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """Return losses (K,) as they are, their mean (0 for no boxes) or their sum.

    Raises:
        ConfigError: another reduction than none, mean or sum.
    """
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ConfigError(f"reduction: expected none, mean or sum, got {reduction!r}.")
    return loss.sum() if reduction == "sum" else loss.sum() / max(loss.shape[0], 1)


def sum_over_codes(per_code: Tensor, pred: Tensor) -> Tensor:
    """Return the sum (K,) of a loss (K, 4) over the four codes: finite if `pred` is, NaN if it is not.

    A code stops at 1e37, without gradient: no gradient step means anything there, but an infinite one ends a
    training. A prediction that is itself infinite is a fault of the model, so it must stay visible.
    """
    return (per_code.clamp(max=LARGEST_CODE_LOSS) + 0 * pred.detach()).sum(-1)


def require_positive(name: str, value: float) -> float:
    """Return a setting that must be a number above 0.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r}.")
    return float(value)


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return a setting that must be one of a few words.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise ConfigError(f"{name}: expected {listed}, got {value!r}.")
    return value


def check_format(box_format: str) -> None:
    """Refuse a box format that does not exist.

    Raises:
        ConfigError: it does not.
    """
    if box_format not in boxes.BOX_FORMATS:
        hint = did_you_mean(box_format, boxes.BOX_FORMATS)
        raise ConfigError(f"box_format: no format is called {box_format!r}.", hint=hint)
