"""Which models a box loss can be put into: torchvision's two-stage detectors with its own training code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from smoothiou.errors import ConfigError, did_you_mean

STAGE_MODULES: Mapping[str, tuple[str, type[nn.Module]]] = {
    "rpn": ("rpn", RegionProposalNetwork),
    "roi": ("roi_heads", RoIHeads),
}
"""Attribute of the model and torchvision's class of each stage."""


def check_stage(model: nn.Module, stage: str) -> None:
    """Refuse a model whose stage is not torchvision's own Faster R-CNN code.

    Raises:
        ConfigError: with what the stage is instead.
    """
    if not isinstance(model, GeneralizedRCNN):
        wrapped = isinstance(getattr(model, "module", None), GeneralizedRCNN)
        raise ConfigError(
            f"expected a torchvision Faster R-CNN, got {type(model).__name__}.",
            hint="Give `model.module`, before it is wrapped."
            if wrapped
            else "Two-stage models only: torchvision's fasterrcnn_*, or `build_detector`.",
        )
    attribute, original = STAGE_MODULES[stage]
    module: Any = getattr(model, attribute, None)
    if vars(type(module)).get("replaces", type(module)) is not original:
        raise ConfigError(
            f"model.{attribute}: expected torchvision's {original.__name__}, got {type(module).__name__}, "
            "whose training code is not known.",
            hint="Choose the other stage with `stages=`, or call the loss in that class yourself.",
        )
    if stage == "roi" and (module.mask_roi_pool is not None or module.keypoint_roi_pool is not None):
        raise ConfigError(
            f"{type(model).__name__}: the second stage has a mask or keypoint head, which is not supported.",
            hint='Choose stages=("rpn",), which such models allow.',
        )


def check_stages(model: nn.Module, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages, each once checked by `check_stage`.

    Raises:
        ConfigError: also for an unknown stage, or none at all.
    """
    named = (stages,) if isinstance(stages, str) else tuple(stages)
    if not named:
        raise ConfigError("stages: expected rpn, roi or both, got none.")
    for stage in named:
        if stage not in STAGE_MODULES:
            raise ConfigError(f"stages: {stage!r} is no stage.", hint=did_you_mean(str(stage), STAGE_MODULES))
    for stage in named:
        check_stage(model, stage)
    return named
