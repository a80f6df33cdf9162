"""`smoothiou calibrate`: which weight makes a loss pull at boxes as strongly as the reference does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.api.settings import check_names
from smoothiou.cli.options import (
    Allow,
    Device,
    Format,
    Json,
    Model,
    Overwrite,
    Quiet,
    Recipe,
    Settings,
    Weights,
    given,
    parse_settings,
    run_config,
)  # fmt: skip
from smoothiou.engine.config import RunConfig, read_run_config
from smoothiou.errors import CheckpointError, ConfigError
from smoothiou.loss_spec import split_losses
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.report.table import Table


def calibrate(
    data: str = "",
    *,
    losses: Annotated[str, Parameter(help="Box losses, options in brackets; `all`: every one.")] = "all",
    reference: Annotated[str, Parameter(help="The loss with weight 1.")] = "huber",
    recipe: Recipe = None,
    batches: Annotated[int, Parameter(help="Batches of the training split to measure on.")] = 8,
    steps: Annotated[
        int | None,
        Parameter(
            help="Steps of training with the reference before the measurement that decides; default: a quarter of the "
            "recipe's, 1000 at most; 0: the start alone."
        ),
    ] = None,
    run: Annotated[Path | None, Parameter(help="Measure the weights of this run, with its settings, instead.")] = None,
    seed: Annotated[int, Parameter(help="Decides initial weights, batches and sampling.")] = 0,
    out: Annotated[Path | None, Parameter(help="JSON file for all results.")] = None,
    model: Model = None,
    weights: Weights = None,
    device: Device = None,
    format_: Format = None,
    allow_dropped: Allow = None,
    set_: Settings = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Measure how strongly each loss pulls at the boxes of a few batches, and propose the weights that match Huber's.

    Losses differ in the size of their gradients, so at equal weights a comparison is in part one of learning rates.
    `smoothiou compare --calibrate` measures and uses such weights by itself.

    Examples:
        smoothiou calibrate shapes --recipe quick
        smoothiou calibrate DATA --recipe bccd --losses huber,smooth-iou,iou --out calibration.json
        smoothiou train DATA --loss iou --loss.rpn_weight 0.2 --loss.roi_weight 5.4

    Args:
        data: folder of a data set, several joined by `+`, or `shapes`; may stand in the recipe or the run.
    """
    from smoothiou.losses import LOSSES

    names = tuple(LOSSES) if losses == "all" else split_losses(losses)
    check_names(names)
    check_names((reference,), option="--reference")
    if run and steps is not None:
        raise ConfigError("--run measures weights as they are: --steps is not for it.", hint="Leave one of them out.")
    flags = {
        "data.path": data or None, "data.format": format_, "data.allow_dropped": allow_dropped, "train.device": device,
        "model.name": model, "model.weights": weights,
    }  # fmt: skip
    config = _of_run(run, recipe, set_, flags) if run else run_config(recipe, set_, flags)
    if not config.data.path:
        raise ConfigError("calibrate: DATA is missing.", hint="Name a folder, or `shapes` for the synthetic data set.")
    if out and out.exists() and not overwrite:
        raise ConfigError(f"{out} exists.", hint="Choose another --out, or --overwrite to replace it.")

    from smoothiou.engine.detector import check
    from smoothiou.files import finite, write_json
    from smoothiou.lab.calibrate import propose_weights

    check(config, losses=(reference, *names))
    content = propose_weights(
        config, losses=names, reference=reference, batches=batches, steps=steps, seed=seed, run=run, quiet=quiet
    )
    if out:
        write_json(out, content)
    if json_:
        print(json.dumps(finite(content)))
        return
    print(calibration_lines(content), file=sys.stderr if out else sys.stdout)
    if out:
        print(out)


def _of_run(run: Path, recipe: str | None, set_: list[str] | None, flags: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run, on the data that the flags name, if any.

    Raises:
        CheckpointError: the folder is no run.
        ConfigError: a recipe, a detector or its weights were named, too.
    """
    if recipe or flags["model.name"] or flags["model.weights"]:
        raise ConfigError("--run brings its own recipe, detector and weights.", hint="Leave the others out.")
    if not (run / "config.toml").is_file():
        raise CheckpointError(
            f"{run}: no run (no config.toml there).", hint="Name a folder that `smoothiou train` has written."
        )
    reset = {"data.format": "auto", "data.train": "", "data.val": "", "data.test": ""} if flags["data.path"] else {}
    return read_run_config(run, {**parse_settings(set_), **reset, **given(flags)})


def calibration_lines(content: Mapping[str, Any]) -> str:
    """Return a calibration as one table for each stage, with the sentences that say how to read it."""
    from smoothiou.report.text_table import text_table

    data = content["data"]
    lines = [
        f"{data['name']}/{data['split']}, {counted(data['counts']['images'], 'image')}; {content['detector']}; "
        f"{counted(content['batches'], 'batch', 'batches')} of {counted(content['batch_size'], 'image')}",
        "pull: mean length of the gradient by the four deltas of a positive box.",
        f"ratio: pull of {content['reference']} / pull of the loss; in brackets the middle half of the batches.",
        f"weight: the ratio {_when(content['decides'])}, with three digits.",
        "literature: what authors and frameworks use, most of them beside L1 and in the second stage.",
    ]
    for stage in next(iter(content["weights"].values())):
        counts = ", ".join(f"{m['positives'][stage]} positives {_when(m['name'])}" for m in content["moments"])
        lines += ["", f"{stage}: {counts}", text_table(_table(content, stage))]
    return "\n".join(lines)


def _when(moment: str) -> str:
    if moment == "start":
        return "at the start"
    return moment if moment.startswith("after") else f"of {moment}"


def _table(content: Mapping[str, Any], stage: str) -> Table:
    from smoothiou.report.table import Cell, Row, Table

    moments = [moment["name"] for moment in content["moments"]]
    rows = []
    for loss, weights in content["weights"].items():
        texts = []
        for entry in (content["losses"][loss][stage][moment] for moment in moments):
            texts += [f"{entry['mean']:.3g}", f"{entry['ratio']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}]"]
        suggested = content["suggested"][loss]
        texts += [f"{weights[stage]:g}", "-" if suggested is None else f"{suggested['weight']:g}"]
        rows.append(Row(loss, list(map(Cell, texts))))
    columns = [name for moment in moments for name in (f"pull, {moment}", "ratio")]
    return Table(stage, "", "loss", [*columns, "weight", "literature"], rows)
