"""Boxes in float32, whatever the precision of the network."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

from smoothiou.boxes import in_float
from smoothiou.detectors.features import layers_of_second_stage

Model = TypeVar("Model", bound=nn.Module)


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


def widen_output(module: nn.Module, args: Any, output: Any) -> Any:
    """Return the output of a module in float32 (a forward hook)."""
    return _widen(output)


def _widen(output: Any) -> Any:
    if isinstance(output, Tensor):
        return in_float(output)
    if isinstance(output, dict):
        return type(output)((key, _widen(value)) for key, value in output.items())
    return type(output)(_widen(value) for value in output)
