"""Lambda, the weight between Huber and 1 - IoU (Algorithm 1, line 8), the same for 1 and N processes."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smoothiou.errors import ConfigError
from smoothiou.losses.base import require_number

Lambda = Literal["batch", "box", "image", "ema"] | float

NAMES = ("batch", "box", "image", "ema")


def mean_iou_over_processes(iou: Tensor, *, sync: bool) -> tuple[Tensor, Tensor]:
    """Mean IoU of the boxes of all processes, and their number (Algorithm 1, line 8); 0 and 0 without boxes.

    A process with K = 0 takes part like the others, else they would wait for it for ever.

    Args:
        iou: (K,) of this process's boxes.
        sync: whether to take the boxes of all processes, or this one's.
    """
    # Filled on the device; a tensor made from a Python number would be copied there, and waited for.
    total, count = iou.sum(), torch.full((), float(iou.shape[0]), dtype=iou.dtype, device=iou.device)
    if sync and world_size() > 1:
        # Sum and count travel together: one message for each stage of a step.
        total, count = _AllReduce.apply(torch.stack((total, count))).unbind(0)
    return total / count.clamp(min=1), count


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _AllReduce(torch.autograd.Function):
    """Sum over processes. Every value reaches the loss of every process, so gradients are summed too."""

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


def lambda_of(iou: Tensor, lam: Lambda, *, sync: bool, images: Tensor | None = None) -> Tensor:
    """Lambda for boxes of this IoU: a scalar, or (K,) for `box` and `image`.

    Args:
        iou: (K,).
        lam: `batch`, `box`, `image` or a number.
        sync: whether the mean of `batch` is over the boxes of all processes.
        images: (N, K), 1 where box k is of image n, else 0; for `image`.
    """
    if lam == "batch":
        return mean_iou_over_processes(iou, sync=sync)[0]  # Algorithm 1, line 8
    if lam == "box":
        return iou
    if lam == "image":
        return _mean_of_each_image(iou, images)
    return torch.full((), float(lam), dtype=iou.dtype, device=iou.device)


def _mean_of_each_image(iou: Tensor, images: Tensor | None) -> Tensor:
    if images is None:
        raise ConfigError(
            'lam="image" needs to know which image each box is of, got no `images`.',
            hint="`set_box_loss` passes them; elsewhere pass images=(N, K) with 1 where box k is of image n.",
        )
    images = images.to(iou.dtype)
    # Sums, not matrix products, which autocast would take in half precision.
    means = (images * iou).sum(1) / images.sum(1).clamp(min=1)
    return (images * means.unsqueeze(1)).sum(0)


class LambdaRule(nn.Module):
    """How a detector's loss gets its lambda, with the moving average of `ema`.

    Args:
        lam: as in `SmoothIoU`.
        sync: whether means are over the boxes of all processes.
        memory: share of the moving average that a batch leaves as it was, in [0, 1).
        detach: whether lambda is a constant to autograd.
    """

    average: Tensor

    def __init__(self, lam: Lambda, *, sync: bool, memory: float, detach: bool) -> None:
        super().__init__()
        self.lam: Lambda = require_lambda(lam)
        self.sync = sync
        self.detach = detach
        expected = "a number of at least 0 and below 1"
        self.memory = require_number("memory", memory, lambda number: 0 <= number < 1, expected)
        if lam == "ema" and not detach:
            raise ConfigError(
                'lam="ema" averages earlier batches, through which no gradient can flow.', hint="Keep detach=True."
            )
        if lam == "ema":
            # The weighted sum of means and the sum of their weights: no start value that would linger.
            self.register_buffer("average", torch.zeros(2))

    def forward(self, iou: Tensor, images: Tensor | None = None) -> Tensor:
        """Lambda for boxes of this IoU (K,); `images` as in `lambda_of`."""
        iou = iou.detach() if self.detach else iou
        if self.lam == "ema":
            return self._moving_average(iou)
        return lambda_of(iou, self.lam, sync=self.sync, images=images)

    def _moving_average(self, iou: Tensor) -> Tensor:
        mean, count = mean_iou_over_processes(iou, sync=self.sync)
        if self.training and torch.is_grad_enabled():
            latest = torch.stack((mean, torch.ones_like(mean))).to(self.average.dtype)
            # A batch without boxes changes nothing.
            rate = (1 - self.memory) * count.clamp(max=1).to(self.average.dtype)
            self.average.lerp_(torch.where(mean.isfinite(), latest, self.average), rate)
        total, weight = self.average.to(iou.dtype).unbind(0)
        return total / weight.clamp(min=1e-12) + mean * 0  # a NaN must be seen now, but not stay in the average


def require_lambda(lam: Lambda, *, names: tuple[str, ...] = NAMES) -> Lambda:
    """Check the setting `lam`.

    Raises:
        ConfigError: it is neither one of the names nor a number from 0 to 1.
    """
    number = isinstance(lam, int | float) and not isinstance(lam, bool) and 0 <= lam <= 1
    if number or lam in names:
        return lam
    choices = ", ".join(f'"{name}"' for name in names) + (" or " if names else "")
    raise ConfigError(f"lam: expected {choices}a number from 0 to 1, got {lam!r}.")
