"""Settings in, detector out."""

from __future__ import annotations

import torch
from torch import nn

from smoothiou.detectors import build_detector, set_box_loss
from smoothiou.engine.config import RunConfig
from smoothiou.loss_spec import stage_losses


def build(config: RunConfig, *, classes: int) -> nn.Module:
    """Return the detector of a run, with its box loss in place."""
    model = build_detector(
        config.model.name,
        num_classes=classes,
        loss=None,
        weights=config.model.weights,
        min_size=config.model.min_size,
        max_size=config.model.max_size,
        proposals=config.model.proposals,
        score_threshold=config.eval.score_threshold,
        max_detections=config.eval.max_detections,
        nms=config.eval.nms,
        tf_compat=config.model.flavour == "tf",
        roi_dropout=1 - config.model.keep if config.model.keep else None,
    )
    factors = {"rpn": config.loss.rpn_weight, "roi": config.loss.roi_weight}
    losses = stage_losses(config.loss.name)
    for stage in config.loss.stages:
        set_box_loss(model, losses[stage], stages=(stage,), weight=config.loss.weight * factors[stage])
    # Channels last is how convolutions compute, on a CPU as on a GPU; else they turn their maps around each time.
    return model.to(memory_format=torch.channels_last)
