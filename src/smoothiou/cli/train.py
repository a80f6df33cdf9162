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
    parse_settings,
)  # fmt: skip
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
    from smoothiou.api.train import train as train_run

    run = train_run(
        data, loss=loss, recipe=recipe, steps=steps, seed=seed, out=out, model=model, weights=weights, device=device,
        format=format_, allow_dropped=allow_dropped, deterministic=deterministic, overwrite=overwrite,
        longer=continue_, quiet=quiet, **parse_settings(set_),
    )  # fmt: skip
    if rank() > 0:  # another process has the result
        return
    if json_:
        print(json.dumps(run.result))
        return
    if not quiet:
        from smoothiou.report.summary_lines import result_lines

        print(result_lines(run.result), file=sys.stderr)
    print(run.folder)
