"""Huber and IoU, mixed by a lambda that is a constant to autograd, in one step of autograd.

The same numbers as `lambda * (1 - IoU) + (1 - lambda) * Huber` written with torch, which remains for everything else
(a lambda with gradient, `torch.compile`, `torch.func`). On a CPU it saves the graph of fifteen operations. On a GPU it
is two launches forward and one backward (`kernels.py`), when `boxes.fused` serves the boxes.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import OfBoxes, OfDeltas, fused
from smoothiou.boxes.arrays import Array, at_most, between
from smoothiou.losses._base import LARGEST_CODE_LOSS
from smoothiou.losses.huber import huber

Rule = Callable[[Tensor], Tensor]
"""IoU (K,) without gradient -> lambda, a scalar or (K,)."""


def can_mix(pred: Tensor) -> bool:
    """Return whether `mixture` takes these predictions."""
    return not (torch.compiler.is_compiling() or boxes.transformed()) and type(pred) in (Tensor, nn.Parameter)


def mixture(
    overlap: OfBoxes | OfDeltas,
    pred: Tensor,
    target: Tensor,
    *,
    delta: float,
    iou_weight: float,
    rule: Rule,
    plain_mean: bool,
) -> tuple[Tensor, Tensor]:
    """Return the losses (K,) of rows (K, 4), and lambda.

    Args:
        overlap: IoU of such rows.
        pred: (K, 4).
        target: (K, 4).
        delta: threshold of Huber.
        iou_weight: factor on 1 - IoU.
        rule: what makes lambda of the IoU.
        plain_mean: whether the rule is the mean over these K boxes, which a kernel can take on the way.
    """
    if fused.serves(overlap.kernel, pred, target):
        return _fused_mixture(overlap, pred, target, delta, iou_weight, rule, plain_mean)
    pred, target = boxes.in_one_type(pred, target)
    compute = _in_numpy if overlap.runs_in_numpy(pred) else _in_torch
    found = compute(overlap, pred.detach(), target.detach(), delta, iou_weight, rule, plain_mean)
    return _Mixture.apply(pred, target, found, (overlap, delta, iou_weight)), found[2]


def alone() -> bool:
    """Return whether there is one process only."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


class _Mixture(torch.autograd.Function):
    """Values whose gradient is known with them, since lambda is."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        found: tuple[Tensor, Tensor, Tensor],
        options: tuple[OfBoxes | OfDeltas, float, float],
    ) -> Tensor:
        value, gradient, lam = found
        ctx.options = options
        ctx.save_for_backward(pred, target, lam, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, lam, gradient = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        if torch.is_grad_enabled():  # create_graph=True: this time as a function of the rows
            gradient = mixed_gradient(pred, target, lam, *ctx.options)
        to_target = None
        if ctx.needs_input_grad[1]:
            to_target = mixed_gradient(target, pred, lam, *ctx.options) * grad
        return gradient * grad, to_target, None, None


def mixed_gradient(
    pred: Tensor, target: Tensor, lam: Tensor, overlap: OfBoxes | OfDeltas, delta: float, iou_weight: float
) -> Tensor:
    """Return the gradient (K, 4) with the predictions as a function of both."""
    pred, target = boxes.in_one_type(pred, target)
    slopes = overlap(pred, target, None)[1]
    z = pred - target
    return _gradient(slopes, z, between(z, -delta, delta), lam, delta, iou_weight)


def _in_torch(
    overlap: OfBoxes | OfDeltas,
    pred: Tensor,
    target: Tensor,
    delta: float,
    iou_weight: float,
    rule: Rule,
    plain_mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses (K,), gradients (K, 4) and lambda, of rows without gradient."""
    iou, slopes = overlap.at_once(pred, target, None)
    lam = iou.sum() / max(iou.shape[0], 1) if plain_mean else rule(iou)
    z = pred - target
    value = lam * (iou_weight * (1 - iou)) + (1 - lam) * huber(pred, target, delta=delta)
    return value, _gradient(slopes, z, between(z, -delta, delta), lam, delta, iou_weight), lam


def _in_numpy(
    overlap: OfBoxes | OfDeltas,
    pred: Tensor,
    target: Tensor,
    delta: float,
    iou_weight: float,
    rule: Rule,
    plain_mean: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same, without an operation of torch from the rows to the gradient."""
    p, t = pred.numpy(), target.numpy()
    with np.errstate(all="ignore"):
        iou, slopes = overlap.in_pieces(p, t, None)
        lam = iou.sum() / p.dtype.type(max(len(p), 1)) if plain_mean else rule(torch.from_numpy(iou)).numpy()
        z = p - t
        bent = between(z, -delta, delta)
        codes = at_most(bent * (z - 0.5 * bent), LARGEST_CODE_LOSS) + 0 * p  # as `sum_over_codes` has it
        distance = codes[:, 0] + codes[:, 1] + codes[:, 2] + codes[:, 3]
        value = lam * (iou_weight * (1 - iou)) + (1 - lam) * distance
        gradient = _gradient(slopes, z, bent, lam, delta, iou_weight)
    return torch.from_numpy(value), torch.from_numpy(gradient), torch.from_numpy(np.asarray(lam))


def _gradient(slopes: Array, z: Array, bent: Array, lam: Array, delta: float, iou_weight: float) -> Array:
    """Return the gradient (K, 4); `bent` is z as far as `delta`, the slope of Huber."""
    lam = lam[:, None] if lam.ndim else lam
    of_huber = bent * (abs(z) <= _flat_from(delta))
    return of_huber * (1 - lam) - slopes * (lam * iou_weight)


@functools.cache
def _flat_from(delta: float) -> float:
    """Return the difference from which on the loss of a code is `LARGEST_CODE_LOSS`."""
    quadratic = math.sqrt(2 * LARGEST_CODE_LOSS)
    return quadratic if quadratic <= delta else LARGEST_CODE_LOSS / delta + delta / 2


def _kernels() -> ModuleType:
    return importlib.import_module("smoothiou.losses.kernels")


def _fused_mixture(
    overlap: OfBoxes | OfDeltas,
    pred: Tensor,
    target: Tensor,
    delta: float,
    iou_weight: float,
    rule: Rule,
    plain_mean: bool,
) -> tuple[Tensor, Tensor]:
    jit, own = fused.kernels(), _kernels()
    pred, target = pred.contiguous(), target.contiguous()
    count = pred.shape[0]
    blocks = fused.grid(pred)[0]
    part_count = min(blocks, own.MOST_PARTS)
    # One piece of memory for all that lies between the launches.
    between = torch.empty(2 * count + own.MOST_PARTS + 1, dtype=torch.float32, device=pred.device)
    iou, distance, parts, lam = between.split((count, count, own.MOST_PARTS, 1))
    *weights, _, of_deltas, _ = fused.kind_of(overlap, None)
    with torch.cuda.device_of(pred):
        own.both[(part_count,)](
            pred.detach(), target.detach(), iou, distance, parts, count, *weights, delta,
            DELTAS=of_deltas, BLOCK=jit.BLOCK, **jit.EXACT,
        )  # fmt: skip
    lam = lam.view(()) if plain_mean else rule(iou).contiguous()
    way = "mean" if plain_mean else ("each" if lam.ndim else "one")
    value = _FusedMixture.apply(pred, target, lam, iou, distance, parts, part_count, overlap, delta, iou_weight, way)
    return value, lam


class _FusedMixture(torch.autograd.Function):
    """The second launch forward, and the one backward."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        lam: Tensor,
        iou: Tensor,
        distance: Tensor,
        parts: Tensor,
        part_count: int,
        overlap: OfBoxes | OfDeltas,
        delta: float,
        iou_weight: float,
        way: str,
    ) -> Tensor:
        jit, own = fused.kernels(), _kernels()
        ctx.options, ctx.way = (overlap, delta, iou_weight), way
        ctx.save_for_backward(pred, target, lam)
        value = torch.empty(pred.shape[0], dtype=torch.float32, device=pred.device)
        with torch.cuda.device_of(pred):
            own.mixed[fused.grid(pred)](
                iou, distance, parts, lam, value, pred.shape[0], part_count, iou_weight,
                LAMBDA=way, WIDTH=own.MOST_PARTS, BLOCK=jit.BLOCK, **jit.EXACT,
            )  # fmt: skip
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, lam = ctx.saved_tensors
        (grad,) = grad_outputs
        found = []
        for learns, own, other in ((True, pred, target), (ctx.needs_input_grad[1], target, pred)):
            if not learns:
                found.append(None)
            elif torch.is_grad_enabled():  # create_graph=True: by the formula, as a function of the rows
                found.append((mixed_gradient(own, other, lam, *ctx.options) * grad.unsqueeze(1)).to(own.dtype))
            else:
                found.append(_fused_gradient(own, other, lam, grad, ctx.way, *ctx.options))
        return *found, *(None,) * 9


def _fused_gradient(
    pred: Tensor,
    target: Tensor,
    lam: Tensor,
    grad: Tensor,
    way: str,
    overlap: OfBoxes | OfDeltas,
    delta: float,
    iou_weight: float,
) -> Tensor:
    jit, own = fused.kernels(), _kernels()
    gradient = torch.empty_like(pred)
    *weights, _, of_deltas, _ = fused.kind_of(overlap, None)
    with torch.cuda.device_of(pred):
        own.mixed_backward[fused.grid(pred)](
            pred, target, lam, grad, gradient, pred.shape[0], grad.stride(0), fused.steepest_of(overlap),
            *weights, delta, iou_weight,
            LAMBDA="each" if way == "each" else "one", DELTAS=of_deltas, BLOCK=jit.BLOCK, **jit.EXACT,
        )  # fmt: skip
    return gradient
