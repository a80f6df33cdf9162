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
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import OfBoxes, OfDeltas, fused
from smoothiou.boxes.arrays import Array, at_most, between, constant, rows
from smoothiou.losses._base import LARGEST_CODE_LOSS

Rule = Callable[[Tensor], Tensor]
"""IoU (K,) without gradient -> lambda, a scalar or (K,)."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """How Huber and IoU are mixed.

    Args:
        overlap: IoU of the rows.
        delta: threshold of Huber.
        iou_weight: factor on 1 - IoU.
        rule: what makes lambda of the IoU.
        plain_mean: whether the rule is the mean over these K boxes, which is then taken on the way.
    """

    overlap: OfBoxes | OfDeltas
    delta: float
    iou_weight: float
    rule: Rule
    plain_mean: bool


def can_mix(pred: Tensor) -> bool:
    """Return whether `mixture` takes these predictions."""
    return not (torch.compiler.is_compiling() or boxes.transformed()) and type(pred) in (Tensor, nn.Parameter)


def mixture(pred: Tensor, target: Tensor, mix: Mixing) -> tuple[Tensor, Tensor]:
    """Return the losses (K,) of rows (K, 4), and lambda."""
    if fused.serves(mix.overlap.kernel, pred, target):
        return _fused_mixture(pred, target, mix)
    pred, target = boxes.in_one_type(pred, target)
    compute = _in_numpy if mix.overlap.runs_in_numpy(pred) else _in_torch
    found = compute(pred.detach(), target.detach(), mix)
    return _Mixture.apply(pred, target, found, mix), found[2]


def alone() -> bool:
    """Return whether there is one process only."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


class _Mixture(torch.autograd.Function):
    """Values whose gradient is known with them, since lambda is."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, found: tuple[Tensor, Tensor, Tensor], mix: Mixing) -> Tensor:
        value, gradient, lam = found
        ctx.mix = mix
        ctx.save_for_backward(pred, target, lam, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, lam, gradient = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        if torch.is_grad_enabled():  # create_graph=True: this time as a function of the rows
            gradient = mixed_gradient(pred, target, lam, ctx.mix)
        to_target = None
        if ctx.needs_input_grad[1]:
            to_target = mixed_gradient(target, pred, lam, ctx.mix) * grad
        return gradient * grad, to_target, None, None


def mixed_gradient(pred: Tensor, target: Tensor, lam: Tensor, mix: Mixing) -> Tensor:
    """Return the gradient (K, 4) with the predictions as a function of both."""
    pred, target = boxes.in_one_type(pred, target)
    return _huber_and_iou(pred, target, *mix.overlap(pred, target, None), lam, mix)[1]


def _in_torch(pred: Tensor, target: Tensor, mix: Mixing) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses (K,), gradients (K, 4) and lambda, of rows without gradient."""
    iou, slopes = mix.overlap.at_once(pred, target, None)
    lam = iou.sum() / max(len(iou), 1) if mix.plain_mean else mix.rule(iou)
    return *_huber_and_iou(pred, target, iou, slopes, lam, mix), lam


def _in_numpy(pred: Tensor, target: Tensor, mix: Mixing) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same, without an operation of torch from the rows to the gradient."""
    p, t = pred.numpy(), target.numpy()
    with np.errstate(all="ignore"):
        iou, slopes = mix.overlap.in_pieces(p, t, None)
        lam = iou.sum() / max(len(iou), 1) if mix.plain_mean else mix.rule(torch.from_numpy(iou)).numpy()
        value, gradient = _huber_and_iou(p, t, iou, slopes, lam, mix)
    return torch.from_numpy(value), torch.from_numpy(gradient), torch.from_numpy(np.asarray(lam))


def _huber_and_iou(
    pred: Array, target: Array, iou: Array, slopes: Array, lam: Array, mix: Mixing
) -> tuple[Array, Array]:
    """Return losses (K,) and gradients (K, 4), in the library of the arrays."""
    z = pred - target
    bent = between(z, -mix.delta, mix.delta)  # the slope of Huber
    codes = at_most(bent * (z - 0.5 * bent), LARGEST_CODE_LOSS) + 0 * constant(pred)  # as `sum_over_codes` has it
    a, b, c, d = rows(codes, 1)
    value = lam * (mix.iou_weight * (1 - iou)) + (1 - lam) * (a + b + c + d)
    each = lam[:, None] if lam.ndim else lam
    gradient = bent * (abs(z) <= _flat_from(mix.delta)) * (1 - each) - slopes * (each * mix.iou_weight)
    return value, gradient


@functools.cache
def _flat_from(delta: float) -> float:
    """Return the difference from which on the loss of a code is `LARGEST_CODE_LOSS`."""
    quadratic = math.sqrt(2 * LARGEST_CODE_LOSS)
    return quadratic if quadratic <= delta else LARGEST_CODE_LOSS / delta + delta / 2


def _kernels() -> ModuleType:
    return importlib.import_module("smoothiou.losses.kernels")


def _fused_mixture(pred: Tensor, target: Tensor, mix: Mixing) -> tuple[Tensor, Tensor]:
    jit, own = fused.kernels(), _kernels()
    pred, target = pred.contiguous(), target.contiguous()
    count = pred.shape[0]
    part_count = min(fused.grid(pred)[0], own.MOST_PARTS)
    # One piece of memory for all that lies between the launches; lambda, which stays, in one of its own.
    lasting = pred.new_empty((), dtype=torch.float32)
    passing = torch.empty(2 * count + own.MOST_PARTS, dtype=torch.float32, device=pred.device)
    iou, distance, parts = passing.split((count, count, own.MOST_PARTS))
    *weights, _, of_deltas, _ = fused.kind_of(mix.overlap, None)
    with torch.cuda.device_of(pred):
        own.both[(part_count,)](
            pred.detach(), target.detach(), iou, distance, parts, count, *weights, mix.delta,
            DELTAS=of_deltas, BLOCK=jit.BLOCK, **jit.EXACT,
        )  # fmt: skip
    lam = lasting if mix.plain_mean else mix.rule(iou).contiguous()
    way = "mean" if mix.plain_mean else ("each" if lam.ndim else "one")
    return _FusedMixture.apply(pred, target, lam, iou, distance, parts, part_count, mix, way), lam


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
        mix: Mixing,
        way: str,
    ) -> Tensor:
        jit, own = fused.kernels(), _kernels()
        ctx.mix, ctx.way = mix, way
        ctx.save_for_backward(pred, target, lam)
        value = torch.empty(pred.shape[0], dtype=torch.float32, device=pred.device)
        with torch.cuda.device_of(pred):
            own.mixed[fused.grid(pred)](
                iou, distance, parts, lam, value, pred.shape[0], part_count, mix.iou_weight,
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
            elif fused.by_formula(grad):
                found.append((mixed_gradient(own, other, lam, ctx.mix) * grad.unsqueeze(1)).to(own.dtype))
            else:
                found.append(_fused_gradient(own, other, lam, grad, ctx.way, ctx.mix))
        return *found, *(None,) * 7


def _fused_gradient(pred: Tensor, target: Tensor, lam: Tensor, grad: Tensor, way: str, mix: Mixing) -> Tensor:
    jit, own = fused.kernels(), _kernels()
    gradient, grad = torch.empty_like(pred), fused.in_one_piece(grad)
    *weights, _, of_deltas, _ = fused.kind_of(mix.overlap, None)
    with torch.cuda.device_of(pred):
        own.mixed_backward[fused.grid(pred)](
            pred, target, lam, grad, gradient, pred.shape[0], grad.stride(0), fused.steepest_of(mix.overlap),
            *weights, mix.delta, mix.iou_weight,
            LAMBDA="each" if way == "each" else "one", DELTAS=of_deltas, BLOCK=jit.BLOCK, **jit.EXACT,
        )  # fmt: skip
    return gradient
