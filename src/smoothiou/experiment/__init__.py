"""The composition root: the one room that may import every other. Its parts load on use.

run               settings -> one finished run folder
evaluate_run      run folder -> metrics of its weights
predict_images    run folder and images -> boxes and pictures
probe_runs        run folders -> how well their second stages refine the same boxes
compare_cells     finished cells of a study -> comparison.json and the gallery
propose_weights   settings and losses -> the gradient of each, and the weights that match the baseline's
check             settings -> nothing, or what is wrong with detector, device or losses
describe_devices  what `smoothiou env` says about devices
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothiou.config import RunConfig
    from smoothiou.experiment.calibrate import propose_weights
    from smoothiou.experiment.compare import compare_cells
    from smoothiou.experiment.devices import describe_devices
    from smoothiou.experiment.finished import evaluate_run
    from smoothiou.experiment.predict import predict_images
    from smoothiou.experiment.probe import probe_runs
    from smoothiou.experiment.training import run

__all__ = [
    "run",
    "evaluate_run",
    "predict_images",
    "probe_runs",
    "compare_cells",
    "propose_weights",
    "check",
    "describe_devices",
]

_HOMES = {
    "run": "training",
    "evaluate_run": "finished",
    "predict_images": "predict",
    "probe_runs": "probe",
    "compare_cells": "compare",
    "propose_weights": "calibrate",
    "describe_devices": "devices",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def check(config: RunConfig, *, losses: Sequence[str]) -> None:
    """Meet what is wrong with detector, device or losses before anything is written or trained.

    Raises:
        ConfigError: an unknown detector, kind of weights, device, loss or option of a loss; a loss that fails or
            gives another shape than one number per box.
    """
    from smoothiou.detectors.build import check_name_and_weights
    from smoothiou.detectors.stage_loss import try_loss
    from smoothiou.experiment.devices import choose_place
    from smoothiou.loss_spec import parse_loss, stage_losses
    from smoothiou.losses import load_loss

    check_name_and_weights(config.model.name, config.model.weights)
    choose_place(config.train.device, config.train.precision)
    for loss in dict.fromkeys(part for spec in losses for part in stage_losses(spec).values()):
        name, options = parse_loss(loss)
        try_loss(load_loss(name, **options), name=loss)
