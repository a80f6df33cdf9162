"""Losses of overlap with gradients written by hand: from corners or deltas to `Pairs`, and back.

Each is computed in one of three ways. Boxes on a CPU: NumPy, whose operations cost less than torch's. Boxes on a GPU:
one kernel (`fused.py`). Everything else, and always when the gradient is differentiated again: torch, which is the
reference for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothiou.boxes import fused
from smoothiou.boxes.arrays import Array, at_most, between, exp, rows, stack
from smoothiou.boxes.deltas import CODE_WEIGHTS, SIZE_CLAMP, Weights
from smoothiou.boxes.formats import in_one_type
from smoothiou.boxes.pairs import SMALLEST_SPAN, Measure, pairs_of_edges

PIECE = 8192
"""Boxes that are computed at a time on a CPU."""
EIGHTHS = np.array([[[-0.125]], [[0.125]]], np.float32)
"""An eighth of a distance outward, for each unit that a low and a high edge move to the right."""


def on_boxes(measure: Measure, pred: Tensor, target: Tensor, *, gradient_dtype: torch.dtype | None = None) -> Tensor:
    """Return a loss of overlap (K,) of boxes (K, 4) xyxy.

    An inverted box (x2 < x1) has no width. Targets that ask for a gradient get one, which is right where the
    loss is symmetric. `gradient_dtype` is the type that gradients end in, where the boxes were cast before.
    """
    return _apply(OfBoxes(measure, steepest(gradient_dtype or pred.dtype)), pred, target, None)


def on_deltas(
    measure: Measure,
    pred: Tensor,
    target: Tensor,
    *,
    weights: Weights = CODE_WEIGHTS,
    anchors: Tensor | None = None,
    gradient_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return a loss of overlap (K,) of the boxes that deltas (K, 4) stand for, relative to the same anchors.

    A box relative to its anchor is the box in pixels, shifted and scaled along each axis. Only differences of
    centres enter, so far-off pairs stay exact, and numbers stay near 1.

    Args:
        measure: the loss.
        pred: (K, 4) deltas.
        target: (K, 4) deltas.
        weights: factors that the deltas were multiplied by.
        anchors: (K, 4) boxes in pixels, whose aspect ratio counts for losses that mix the axes. None: square.
        gradient_dtype: the type that gradients end in, where the deltas were cast before.
    """
    return _apply(OfDeltas(measure, steepest(gradient_dtype or pred.dtype), weights), pred, target, anchors)


def _apply(loss: OfBoxes | OfDeltas, pred: Tensor, target: Tensor, anchors: Tensor | None) -> Tensor:
    if fused.serves(loss.kernel, pred, target):
        return fused.Overlap.apply(pred.contiguous(), target.contiguous(), anchors, loss)
    pred, target = in_one_type(pred, target)
    aspect = None if anchors is None else _aspect(anchors, pred.dtype)
    return (_ByHandUnderTransforms if transformed() else _ByHand).apply(pred, target, aspect, loss)


class _ByHand(torch.autograd.Function):
    """A loss whose gradient comes from its slopes. It can be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, aspect: Tensor | None, loss: OfBoxes | OfDeltas) -> Tensor:
        value, gradient = loss.at_once(pred, target, aspect)
        ctx.loss = loss
        ctx.save_for_backward(pred, target, aspect, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, aspect, gradient = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        again = torch.is_grad_enabled()  # create_graph=True: this time as a function of the boxes
        if again:
            gradient = ctx.loss(pred, target, aspect)[1]
        to_target = None
        if ctx.needs_input_grad[1]:  # only losses that treat both alike let a target in that learns
            to_target = (ctx.loss if again else ctx.loss.at_once)(target, pred, aspect)[1] * grad
        return gradient * grad, to_target, None, None


class _ByHandUnderTransforms(torch.autograd.Function):
    """The same for `torch.func` (grad, vmap, jacrev), whose rules cost time that a training step need not spend."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pred: Tensor, target: Tensor, aspect: Tensor | None, loss: OfBoxes | OfDeltas) -> Tensor:
        return loss(pred, target, aspect)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.loss = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, aspect = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        to_target = ctx.loss(target, pred, aspect)[1] * grad if ctx.needs_input_grad[1] else None
        return ctx.loss(pred, target, aspect)[1] * grad, to_target, None, None


def transformed() -> bool:
    """Return whether a transform of `torch.func` is at work."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


@dataclass(frozen=True, slots=True)
class _ByHandLoss(ABC):
    """A loss of overlap of rows (K, 4): values and gradients, as numbers."""

    measure: Measure
    steepest: float | None
    """The largest slope that the gradient's type holds, None for wide types."""

    @property
    def kernel(self) -> str | None:
        """The name of the GPU kernel that computes the measure, if there is one."""
        return getattr(self.measure, "kernel", None)

    @abstractmethod
    def __call__(self, pred: Array, target: Array, aspect: Array | None) -> tuple[Array, Array]:
        """Return values (K,) and their gradients (K, 4) with the predictions, in the library of the arrays."""

    def differentiable(self, pred: Tensor, target: Tensor, anchors: Tensor | None) -> Tensor:
        """Return the gradients (K, 4) as a function of the rows, in at least float32."""
        pred, target = in_one_type(pred, target)
        return self(pred, target, None if anchors is None else _aspect(anchors, pred.dtype))[1]

    def at_once(self, pred: Tensor, target: Tensor, aspect: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the same without a graph, on a CPU in NumPy where that may be, and in pieces that its cache holds."""
        if torch.compiler.is_compiling() or pred.device.type != "cpu":
            return self(pred, target, aspect)
        if not self.runs_in_numpy(pred):
            return self.in_pieces(pred, target, aspect)
        given = (None if tensor is None else tensor.detach().numpy() for tensor in (pred, target, aspect))
        with np.errstate(all="ignore"):
            values, gradients = self.in_pieces(*given)
        return torch.from_numpy(values), torch.from_numpy(gradients)

    def runs_in_numpy(self, pred: Tensor) -> bool:
        """Return whether NumPy may compute this for these predictions, where no gradient is asked for."""
        measure = self.measure.func if isinstance(self.measure, partial) else self.measure
        plain = type(pred) in (Tensor, nn.Parameter) and pred.device.type == "cpu"
        return plain and getattr(measure, "in_either_library", False)

    def in_pieces(self, pred: Array, target: Array, aspect: Array | None) -> tuple[Array, Array]:
        """Return values (K,) and gradients (K, 4), computed so many boxes at a time as a cache holds."""
        count = pred.shape[0]
        if count <= PIECE:
            return self(pred, target, aspect)
        pieces = [slice(start, start + PIECE) for start in range(0, count, PIECE)]
        found = [self(pred[k], target[k], None if aspect is None else aspect[:, k]) for k in pieces]
        values, gradients = zip(*found, strict=True)
        if isinstance(pred, Tensor):
            return torch.cat(values), torch.cat(gradients)
        return np.concatenate(values), np.concatenate(gradients)

    def _finished(self, gradient: Array) -> Array:
        """Return gradients (4, K) as (K, 4), no steeper than the type of the gradient holds."""
        # Slopes only: what a loss scale makes of them must stay free to overflow, by which the scale is found.
        if self.steepest is not None:
            gradient = between(gradient, -self.steepest, self.steepest)
        return gradient.T.contiguous() if isinstance(gradient, Tensor) else np.ascontiguousarray(gradient.T)


@dataclass(frozen=True, slots=True)
class OfBoxes(_ByHandLoss):
    """Of boxes (K, 4) xyxy."""

    def __call__(self, pred: Array, target: Array, aspect: Array | None) -> tuple[Array, Array]:
        """Return values (K,) and their gradients (K, 4) with the predicted corners."""
        edges = _outward(stack((pred.T, target.T)).reshape(2, 2, 2, -1))
        pairs = pairs_of_edges(edges[0], edges[1], aspect)
        value, slopes = self.measure(pairs)
        return value, self._finished(_outward(pairs.pull_back(slopes)).reshape(4, -1))


@dataclass(frozen=True, slots=True)
class OfDeltas(_ByHandLoss):
    """Of deltas (K, 4) relative to the same anchors, that were multiplied by `weights`."""

    weights: Weights

    def __call__(self, pred: Array, target: Array, aspect: Array | None) -> tuple[Array, Array]:
        """Return values (K,) and their gradients (K, 4) with the predicted deltas."""
        weight_x, weight_y, weight_w, weight_h = self.weights
        # In a quarter of the anchor's sides, which rounds nothing either, and from the centre of the target.
        quarter = 0.25 / weight_x, 0.25 / weight_y
        per_weight = 1 / weight_w, 1 / weight_h
        codes, target_codes = pred.T, target.T
        centre = _scaled(codes[:2], *quarter) - _scaled(target_codes[:2], *quarter)
        log_side = _scaled(codes[2:], *per_weight)
        half = exp(at_most(log_side, SIZE_CLAMP)) * 0.125
        target_half = exp(at_most(_scaled(target_codes[2:], *per_weight), SIZE_CLAMP)) * 0.125
        pairs = pairs_of_edges(stack((half - centre, half + centre)), stack((target_half, target_half)), aspect)
        value, slopes = self.measure(pairs)
        low, high = rows(pairs.pull_back(slopes))
        to_log_side = (low + high) * half * (log_side < SIZE_CLAMP)
        gradient = stack((_scaled(high - low, *quarter), _scaled(to_log_side, *per_weight)))
        return value, self._finished(gradient.reshape(4, -1))


def steepest(dtype: torch.dtype) -> float | None:
    """Return the largest slope whose sums over a box half precision still holds; None for wider types."""
    return torch.finfo(dtype).max / 4 if dtype in (torch.float16, torch.bfloat16) else None


def _aspect(anchors: Tensor, dtype: torch.dtype) -> Tensor:
    low, high = anchors.detach().to(dtype).t().split(2)
    sides = (high - low).clamp(min=SMALLEST_SPAN)
    # An anchor without height (or width) is taken as one of a millionth of its width.
    return (sides / sides.amax(0)).clamp(min=1e-6)


def _outward(edges: Array) -> Array:
    """Return edges (..., 2, 2, K) as distances outward, minus the low one and then the high one; and back.

    An eighth of them, which rounds nothing, so that differences of the largest numbers are numbers.
    """
    if not isinstance(edges, Tensor):
        return edges * EIGHTHS
    edges = edges * 0.125
    edges[..., 0, :, :] *= -1
    return edges


def _scaled(lengths: Array, factor_x: float, factor_y: float) -> Array:
    if factor_x == factor_y:
        return lengths * factor_x
    x, y = rows(lengths)
    return stack((x * factor_x, y * factor_y))
