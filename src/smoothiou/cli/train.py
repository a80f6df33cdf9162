"""`smoothiou train`: one run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from smoothiou.cli.options import (
    Allow,
    Deterministic,
    Device,
    Format,
    Json,
    Model,
    Overwrite,
    Quiet,
    Recipe,
    Settings,
    Steps,
    Weights,
    data_name,
    fit_length,
    folder_name,
    run_config,
    usual_recipe,
)  # fmt: skip
from smoothiou.errors import ConfigError
from smoothiou.launch import rank


def train(
    data: str = "",
    *,
    loss: Annotated[str | None, Parameter(help="A name from `smoothiou losses`, or package.module:object.")] = None,
    recipe: Recipe = None,
    steps: Steps = None,
    seed: Annotated[int | None, Parameter(help="Decides weights, data order and augmentation.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder of the run; default runs/DATA-LOSS-seedSEED.")] = None,
    model: Model = None,
    weights: Weights = None,
    device: Device = None,
    format_: Format = None,
    allow_dropped: Allow = None,
    deterministic: Deterministic = False,
    set_: Settings = None,
    overwrite: Overwrite = False,
    continue_: Annotated[
        bool, Parameter(name="--continue", negative="", help="Train a finished run longer, to --steps in all.")
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train one detector, measure it, and leave a folder that holds everything about it.

    The same command again continues an interrupted run, and does nothing where it is done.

    Examples:
        smoothiou train shapes --recipe quick --loss huber
        smoothiou train DATA --loss smooth-iou --steps 400 --seed 0 --out RUN
        smoothiou train DATA --loss smooth-iou --steps 800 --seed 0 --out RUN --continue

    Args:
        data: folder of a data set, several joined by `+`, or `shapes`; may stand in the recipe instead.
    """
    flags = {
        "data.path": data or None, "data.format": format_, "data.allow_dropped": allow_dropped, "loss.name": loss,
        "train.steps": steps, "train.seed": seed, "train.device": device, "model.name": model, "model.weights": weights,
        "train.deterministic": deterministic or None,
    }  # fmt: skip
    recipe = usual_recipe(recipe, set_, data=data, model=model)
    config = run_config(recipe, set_, flags)
    if not config.data.path:
        raise ConfigError("train: DATA is missing.", hint="Name a folder, or `shapes` for the synthetic data set.")
    stem = f"{data_name(config.data.path)}-{folder_name(config.loss.name)}-seed{config.train.seed}"
    folder = out or Path("runs") / stem

    from smoothiou.cli.doctor import quick_line
    from smoothiou.cli.summary import data_lines, result_lines, watch_lines
    from smoothiou.engine.detector import check
    from smoothiou.engine.open_data import describe_data, open_splits
    from smoothiou.engine.train import run

    check(config, losses=(config.loss.name,))
    quiet = quiet or rank() > 0  # under torchrun one process speaks for all
    splits = open_splits(config.data)
    images = len(splits.train.records)
    config, fitted = fit_length(config, recipe=recipe, settings=set_, steps=steps, images=images)
    if not quiet:
        data_facts = describe_data(splits)
        print(data_lines(data_facts), *watch_lines(config.flat(), data_facts), sep="\n", file=sys.stderr, flush=True)
        print(quick_line(splits, config), file=sys.stderr, flush=True)
        if fitted:
            print(fitted, file=sys.stderr, flush=True)
    result = run(config, folder, splits=splits, overwrite=overwrite, longer=continue_, quiet=quiet)
    if not result:  # another process has it
        return
    if json_:
        print(json.dumps(result))
    else:
        if not quiet:
            print(result_lines(result), file=sys.stderr)
        print(folder)
