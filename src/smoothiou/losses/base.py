"""What all losses share: their description, the check of their arguments, the step from deltas or boxes to the formula.

A loss is any callable loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,). It does not reduce: the
detector divides the sum by its number of sampled boxes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from smoothiou.boxes import (
    DELTA_WEIGHTS,
    Box,
    Weights,
    box_pair,
    box_pair_in_pixels,
    delta_pair,
    delta_pair_in_pixels,
    in_one_type,
    require_box_format,
    to_xyxy,
)
from smoothiou.errors import ConfigError

BoxLoss = Callable[..., Tensor]
"""loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,), or (K, 4) where it is elementwise."""

LARGEST_TERM = 1e37
"""Where the loss of one delta stops: four of this size still have a finite sum in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossInfo:
    """What a loss is: a row of `smoothiou losses`, and facts that the tests hold it to."""

    name: str
    """Its name on the command line and in recipes."""
    summary: str
    """What it gives that its neighbours do not, in one line."""
    formula: str
    """z is the difference of a predicted and a target delta; sums run over the four deltas of a box."""
    range: str
    """Smallest and largest value for one box, as an interval."""
    space: Literal["deltas", "boxes", "both"]
    """What it compares: deltas, the boxes that they stand for, or both."""
    vanishes_when_disjoint: bool
    """Whether the centre of a box gets no gradient along the axes on which it is disjoint from its target."""
    reference: str
    """Where it was published."""
    frame: Literal["any", "pixels", "size"] = "any"
    """"any": the same number relative to an anchor and in pixels; "pixels": it depends on the anchors' shape, and takes
    them; "size": it depends on the boxes' size in pixels too, and cannot do without anchors."""
    symmetric: bool = True
    """Whether prediction and target may change places."""
    weight: float = 1.0
    """Factor in a two-stage detector, where its sources have one."""
    weight_source: str = "the loss is taken as it is"
    """Who uses that factor."""
    also_called: str = ""
    """Names that it goes by elsewhere, and others that go by its name."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value as numbers."""
        low, high = self.range.strip("[]()").split(",")
        return float(low), float(high)


class RegisteredLoss(nn.Module):
    """A loss that has a name in `LOSSES`."""

    info: ClassVar[LossInfo]


class DeltaLoss(RegisteredLoss, ABC):
    """A loss of the differences of four deltas, each for itself."""

    @abstractmethod
    def formula(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss (K,) of deltas (K, 4) in float32 or float64."""

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Loss (K,) of deltas (K, 4); weights and anchors are not used."""
        return self.formula(*float_pair(pred_deltas, target_deltas))

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Loss (K,) of the four numbers of boxes (K, 4) as they are, in the boxes' own unit."""
        require_box_format(box_format)
        return self.formula(*float_pair(pred, target))


class OverlapLoss(RegisteredLoss, ABC):
    """A loss of how two boxes lie to each other."""

    frame = "anchor"

    @abstractmethod
    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in the frame of their enclosing box."""

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Loss of the boxes that deltas stand for.

        Args:
            pred_deltas: (K, 4) predicted deltas of the positive boxes.
            target_deltas: (K, 4) deltas of their targets.
            weights: factors that the deltas were multiplied by.
            anchors: (K, 4) anchors or proposals in pixels, of which a loss with frame "pixels" takes the aspect
                ratio; None: square ones.

        Returns:
            (K,), in float32 (float64 for float64 deltas).

        Raises:
            ConfigError: shapes or types are wrong.
        """
        pred, target = float_pair(pred_deltas, target_deltas)
        anchors = anchors if self.frame == "pixels" else None
        if anchors is not None and anchors.shape != pred.shape:
            raise ConfigError(f"anchors: expected one for each of {len(pred)} boxes, got shape {tuple(anchors.shape)}.")
        per_axis = self.info.frame == "any"
        return self.formula(*delta_pair(pred, target, weights=weights, anchors=anchors, per_axis=per_axis))

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Loss (K,) of boxes (K, 4)."""
        pred, target = xyxy_pair(pred, target, box_format=box_format)
        return self.formula(*box_pair(pred, target, per_axis=self.info.frame == "any"))


class FramedLoss(OverlapLoss):
    """A loss that mixes lengths along x with lengths along y, so that it matters in which unit each is measured."""

    def __init__(self, frame: str = "pixels") -> None:
        super().__init__()
        self.frame = require_one_of("frame", frame, ("pixels", "anchor"))

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"frame={self.frame!r}"


class PixelLoss(RegisteredLoss, ABC):
    """A loss with a length in pixels in it, so that large boxes have other numbers than small ones."""

    @abstractmethod
    def formula(self, pred: Box, target: Box, unit: Tensor, image_sizes: Tensor | None) -> Tensor:
        """Loss (K,) of boxes in a frame in which a length of 1 is `unit` (K,) pixels."""

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
        image_sizes: Tensor | None = None,
    ) -> Tensor:
        """Loss (K,) of the boxes that deltas (K, 4) stand for at anchors (K, 4), which are in pixels.

        Raises:
            ConfigError: shapes or types are wrong, or there are no anchors.
        """
        pred, target = float_pair(pred_deltas, target_deltas)
        if anchors is None or anchors.shape != pred.shape:
            got = "none" if anchors is None else f"shape {tuple(anchors.shape)}"
            raise ConfigError(
                f"anchors: {self.info.name} measures in pixels and expected an anchor for each of {len(pred)} boxes, "
                f"got {got}.",
                hint="Call it with anchors=(K, 4), xyxy in pixels, or on boxes with `on_boxes`.",
            )
        return self.formula(*delta_pair_in_pixels(pred, target, weights=weights, anchors=anchors), image_sizes)

    def on_boxes(
        self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy", image_sizes: Tensor | None = None
    ) -> Tensor:
        """Loss (K,) of boxes (K, 4) in pixels."""
        pred, target = xyxy_pair(pred, target, box_format=box_format)
        return self.formula(*box_pair_in_pixels(pred, target), image_sizes)


def of_boxes(
    formula: Callable[[Box, Box], Tensor], boxes1: Tensor, boxes2: Tensor, reduction: str, *, per_axis: bool = True
) -> Tensor:
    """Reduced loss of overlap of boxes (K, 4) xyxy; `per_axis` as in `in_one_frame`."""
    return reduce(formula(*box_pair(*float_pair(boxes1, boxes2), per_axis=per_axis)), reduction)


def float_pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes and cast both to one type of at least float32.

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
    return in_one_type(pred, target)


def xyxy_pair(pred: Tensor, target: Tensor, *, box_format: str) -> tuple[Tensor, Tensor]:
    """Like `float_pair`, of boxes (K, 4) in a format, which become xyxy."""
    pred, target = float_pair(pred, target)
    return to_xyxy(pred, box_format=box_format), to_xyxy(target, box_format=box_format)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Losses (K,) as they are, their mean (0 for no boxes) or their sum.

    Raises:
        ConfigError: another reduction than none, mean or sum.
    """
    if reduction == "none":
        return loss
    require_one_of("reduction", reduction, ("none", "mean", "sum"))
    return loss.sum() if reduction == "sum" else loss.sum() / max(loss.shape[0], 1)


def sum_of_deltas(terms: Tensor, pred: Tensor) -> Tensor:
    """Sum (K,) of terms (K, 4) over the four deltas: finite if `pred` is, NaN if it is not.

    A term stops at 1e37, without gradient: no step along the gradient means anything there, but an infinite one ends a
    training. A prediction that is itself infinite is a fault of the model, so it must stay visible.
    """
    return (terms.clamp(max=LARGEST_TERM) + 0 * pred.detach()).sum(-1)


def require_number(name: str, value: float, fits: Callable[[float], bool], expected: str) -> float:
    """Check a setting that must be a number within bounds, which `expected` says in words.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        raise ConfigError(f"{name}: expected {expected}, got {value!r}.")
    return float(value)


def require_positive(name: str, value: float) -> float:
    """Check a setting that must be a finite number above 0."""
    return require_number(name, value, lambda number: 0 < number < math.inf, "a number above 0")


def require_not_negative(name: str, value: float) -> float:
    """Check a setting that must be a finite number of at least 0."""
    return require_number(name, value, lambda number: 0 <= number < math.inf, "a number of at least 0")


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Check a setting that must be one of a few words.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise ConfigError(f"{name}: expected {listed}, got {value!r}.")
    return value
