"""From settings to a detector, and what can be checked of both before anything is written or trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from smoothiou.detectors import build_detector, set_box_loss
from smoothiou.detectors.box_loss import try_loss
from smoothiou.detectors.build import check_name_and_weights
from smoothiou.detectors.hosts import stages_of
from smoothiou.detectors.registry import detector_info
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement, placement_of
from smoothiou.engine.loggers import check_logger
from smoothiou.loss_spec import split_stages, stage_losses
from smoothiou.losses import from_spec


def build(config: RunConfig, *, classes: int | Sequence[str], compile_loss: bool = False) -> nn.Module:
    """Return the detector of a run, with its box loss in place.

    Args:
        config: settings of the run.
        classes: number of classes, without the background, or their names: by these, what fits of a checkpoint is taken
            over, else it must fit exactly.
        compile_loss: compile the box losses with `torch.compile`.
    """
    dropout, names = config.model.roi_dropout, None if isinstance(classes, int) else classes
    model = build_detector(
        config.model.name,
        num_classes=classes if isinstance(classes, int) else len(classes),
        classes=names,
        loss=None,
        weights=config.model.weights,
        min_size=config.model.min_size,
        max_size=config.model.max_size,
        proposals=config.model.proposals,
        score_threshold=config.eval.score_threshold,
        max_detections=config.eval.max_detections,
        nms=config.eval.nms,
        tf_compat=config.model.tf_compat,
        roi_dropout=None if dropout == "none" else dropout,
        freeze=config.model.freeze,
    )
    factors = {"rpn": config.loss.rpn_weight, "roi": config.loss.roi_weight}
    for stage, loss in stage_losses(config.loss.name, tuple(stages_of(model))).items():
        setting = "rpn" if stage == "rpn" else "roi"  # all second stages of a cascade
        if setting in config.loss.stages:
            weight = config.loss.weight * factors[setting]
            set_box_loss(model, loss, stages=(stage,), weight=weight, compile=compile_loss)
    # Channels last is how convolutions compute, on a CPU as on a GPU; else they transpose their maps each time.
    return model.to(memory_format=torch.channels_last)


def compiles_loss(config: RunConfig, placement: Placement) -> bool:
    """Return whether a run compiles its box losses: `auto` does on CUDA, where it saves launches, not on a CPU."""
    choice = config.train.compile_loss
    return choice == "yes" or (choice == "auto" and placement.device.type == "cuda")


def check(config: RunConfig, *, losses: Sequence[str]) -> None:
    """Check detector, device and losses before anything is written or trained.

    Raises:
        ConfigError: an unknown detector, kind of weights, layer, device, loss or option of a loss; a loss that fails
            or gives another shape than one number per box.
    """
    check_name_and_weights(config.model.name, config.model.weights)
    if config.model.freeze not in ("auto", "none"):  # which layers there are, only the detector knows
        build_detector(config.model.name, num_classes=1, freeze=config.model.freeze)
    placement_of(config)
    check_logger(config.train.log)
    for spec in losses:
        stage_losses(spec, detector_info(config.model.name).stages)
    for loss in dict.fromkeys(part for spec in losses for part in split_stages(spec)):
        try_loss(from_spec(loss), name=loss)
