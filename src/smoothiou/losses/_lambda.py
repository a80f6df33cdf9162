"""Lambda, the weight between Huber and 1 - IoU (Algorithm 1, line 8), the same for 1 and N processes."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from smoothiou.errors import ConfigError

Lambda = Literal["batch", "box"] | float


def require_lambda(lam: Lambda) -> Lambda:
    """Return the setting `lam` if it is one.

    Raises:
        ConfigError: it is not.
    """
    number = isinstance(lam, int | float) and not isinstance(lam, bool) and 0 <= lam <= 1
    if lam in ("batch", "box") or number:
        return lam
    raise ConfigError(f'lam: expected "batch", "box" or a number from 0 to 1, got {lam!r}.')


def lambda_of(iou: Tensor, lam: Lambda, *, sync: bool) -> Tensor:
    """Return lambda for boxes of this IoU (K,): a scalar, or (K,) for `box`."""
    if lam == "batch":
        return _mean(iou, sync=sync)  # Algorithm 1, line 8
    if lam == "box":
        return iou
    # Filled on the device; a tensor made from a Python number would be copied there, and waited for.
    return torch.full((), float(lam), dtype=iou.dtype, device=iou.device)


def _mean(iou: Tensor, *, sync: bool) -> Tensor:
    """Return the mean over all boxes, of all processes where `sync`; 0 where there is no box at all.

    A process with K = 0 takes part like the others, else they would wait for it for ever.
    """
    total, count = iou.sum(), iou.shape[0]
    if not (sync and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return total / max(count, 1)
    # Sum and count travel together: one message for each stage of a step.
    sums = torch.stack((total, torch.full_like(total, count)))
    if sums.requires_grad:
        sums = _SumOfAll.apply(sums)
    else:
        dist.all_reduce(sums)
    return sums[0] / sums[1].clamp(min=1)


class _SumOfAll(torch.autograd.Function):
    """Sum over processes; every process's value reaches every process's loss, so gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad
