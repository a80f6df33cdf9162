"""Batch norm over the images of all processes, on any backend (torch's own works on GPUs only)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

DIMENSIONS = (0, 2, 3)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """torch's `BatchNorm2d`, whose mean and variance in training are those of the batch of all processes.

        mean = sum over processes n_p mean_p / n;   variance = sum n_p (variance_p + (mean_p - mean)^2) / n

    Parameters, buffers and inference are those of `BatchNorm2d`. In training all processes must call it equally often;
    one without any cell (n_p = 0) takes part like the others.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, channels, H, W)."""
        if not self.training:
            return super().forward(input)
        mean, variance, count = _of_all(input)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            self._remember(mean, variance * count / (count - 1).clamp(min=1))
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)  # type: ignore[return-value]

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean, alpha=share)
        self.running_var.mul_(1 - share).add_(variance, alpha=share)


@torch.no_grad()
def _of_all(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), variance (C,) and number of cells, a scalar, of the maps (N, C, H, W) of all processes."""
    channels = x.shape[1]
    count = x.numel() // max(channels, 1)
    own = x.new_zeros(2 * channels + 1, dtype=torch.float32)  # one message: count, means, variances
    own[0] = count
    if count:
        variance, mean = torch.var_mean(x.float(), dim=DIMENSIONS, correction=0)
        own[1:] = torch.cat((mean, variance))
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own)
    counts, means, variances = torch.stack(everyone).double().split((1, channels, channels), dim=1)
    total = counts.sum().clamp(min=1)
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
    return mean.float(), variance.float(), total.float()


class _Normalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance depend on all processes' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), count)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].float()
        mean, scale = mean[:, None, None], scale[:, None, None]
        normal = (x.float() - mean) * scale
        own = torch.stack((gradient.sum(DIMENSIONS), (gradient * normal).sum(DIMENSIONS)))
        everyone = own.clone()
        dist.all_reduce(everyone)
        level, tilt = (everyone / count)[:, :, None, None].unbind(0)
        result = (gradient - level - normal * tilt) * (scale * weight.float()[:, None, None])
        # Those of weight and bias are of this process alone: DDP adds them up as it does all others.
        return result.to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None, None, None, None
