"""What is computed in float32, whatever the precision of the network."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase  # of all batch norms

from smoothiou.boxes import in_float
from smoothiou.detectors.features import layers_of_second_stage
from smoothiou.detectors.mixin import Mixin, mix_in

Model = TypeVar("Model", bound=nn.Module)

BLOCK = 64
"""Boxes of which the second stage computes a multiple, so that a kernel serves for many steps."""


def keep_boxes_in_float32(model: Model) -> Model:
    """Make a torchvision Faster R-CNN compute anchors, proposals and boxes in float32 under autocast.

    torchvision gives anchors the type of the features and decodes in the type of the deltas. In bfloat16 a coordinate
    near 300 is then a multiple of 2 pixels, also of proposals and targets. Convolutions and matrix products stay in
    half precision; without autocast nothing changes.

    Args:
        model: the detector, changed in place.

    Returns:
        The same model.
    """
    parts: Any = model
    predictors = [predictor for _, predictor in layers_of_second_stage(model)]
    for module in (parts.backbone, parts.rpn.head, *predictors):
        if widen_output not in module._forward_hooks.values():
            module.register_forward_hook(widen_output)
    return model


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Make depthwise convolutions compute in float32 on a CPU, in place.

    On a CPU a depthwise convolution is no matrix product, and PyTorch's bfloat16 has no fast backward pass for it: a
    step of `lite0` takes .55 s in bfloat16, .37 in float32, and .34 so.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            mix_in(module, Float32OnCPU)


class Float32OnCPU(Mixin):
    """A layer that leaves autocast on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, computed in float32 where a CPU is under autocast."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)  # type: ignore[misc]
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())  # type: ignore[misc]


def pad_boxes_to_blocks(model: nn.Module) -> None:
    """Let the second stage compute whole blocks of boxes in half precision on a CPU, in place.

    oneDNN compiles a kernel for each number of rows it meets, which takes 30 to 50 ms and is kept in memory; the number
    of sampled boxes is another one in each step. The padding is cut off again.
    """
    for head, predictor in layers_of_second_stage(model):
        for module in (head, predictor):
            if not any(isinstance(each, _NormBase) for each in module.modules()):  # whose statistics zeros would move
                mix_in(module, PaddedBoxes)


class PaddedBoxes(Mixin):
    """Layers on boxes (K, ...) that see a multiple of BLOCK of them, the last ones zeros, under autocast on a CPU."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the layers give for the K boxes."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)  # type: ignore[misc]
        boxes, x = len(x), x.to(torch.get_autocast_dtype("cpu"))
        if boxes % BLOCK:
            x = F.pad(x, (0, 0) * (x.dim() - 1) + (0, -boxes % BLOCK))
        output = super().forward(x)  # type: ignore[misc]
        return output[:boxes] if isinstance(output, Tensor) else tuple(each[:boxes] for each in output)


def widen_output(module: nn.Module, args: Any, output: Any) -> Any:
    """Return the output of a module in float32 (a forward hook)."""
    return _widen(output)


def _widen(output: Any) -> Any:
    if isinstance(output, Tensor):
        return in_float(output)
    if isinstance(output, dict):
        return type(output)((key, _widen(value)) for key, value in output.items())
    return type(output)(_widen(value) for value in output)
