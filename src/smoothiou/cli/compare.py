"""`smoothiou compare`: losses times seeds, paired, and an honest report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.api.compare import prepare_study
from smoothiou.api.say import Say
from smoothiou.cli.launcher import Address, Cpus, Gpus, Launcher, Retries, Shared, ray_options
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
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import split_losses
from smoothiou.progress import duration
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.api.study import Study


def compare(
    data: str = "",
    *,
    losses: Annotated[str, Parameter(help="Box losses, the baseline first; options in brackets: huber[delta=0.5].")] = (
        "huber,smooth-iou"
    ),
    seeds: Annotated[
        str | None,
        Parameter(help="Seeds, as 0,1,2 or 0-4; default 0,1,2. With --until the first ones; default 0-4."),
    ] = None,
    recipe: Recipe = None,
    out: Annotated[Path | None, Parameter(help="Folder of the study; default runs/DATA-compare.")] = None,
    steps: Steps = None,
    model: Model = None,
    weights: Weights = None,
    device: Device = None,
    jobs: Annotated[int, Parameter(help="Cells that train at once; cores and image cache are divided.")] = 1,
    launcher: Launcher = "local",
    address: Address = None,
    cpus_per_cell: Cpus = 1,
    gpus_per_cell: Gpus = 0.0,
    retries: Retries = 3,
    shared_folder: Shared = True,
    baseline: Annotated[str | None, Parameter(help="The loss that others are compared with, if not the first.")] = None,
    format_: Format = None,
    allow_dropped: Allow = None,
    deterministic: Deterministic = False,
    calibrate: Annotated[
        bool, Parameter(negative="", help="First measure the weight with which each loss pulls as the baseline does.")
    ] = False,
    tuned: Annotated[
        Path | None,
        Parameter(help="TOML file with settings of single losses, by loss: ['huber[delta=0.5]'] 'optim.lr' = 0.002."),
    ] = None,
    margin: Annotated[
        float | None, Parameter(help="Difference in AP points that does not matter to you; default 1. Stays as it is.")
    ] = None,
    until: Annotated[
        float | None,
        Parameter(help="Add seeds until each AP difference is known to +- so many points. Stays as it is."),
    ] = None,
    most_seeds: Annotated[int | None, Parameter(help="No more seeds than these with --until; default 20.")] = None,
    resplit: Annotated[
        bool, Parameter(negative="", help="Each seed cuts train and val anew; the test split stays as it is.")
    ] = False,
    dry_run: Annotated[
        bool,
        Parameter(negative="", help="Check all, time a few steps, print time, space and what can be detected; stop."),
    ] = False,
    set_: Settings = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a detector with each loss on the same seeds, and report whether the losses can be told apart.

    The same command again continues a study; more losses or seeds extend it.

    Examples:
        smoothiou compare shapes --recipe quick --seeds 0,1
        smoothiou compare DATA --until 1 --most-seeds 12
        smoothiou compare DATA --recipe bccd --losses huber,smooth-iou --seeds 0,1,2 --out STUDY

    Args:
        data: folder of a data set, several joined by `+`, or `shapes`; may stand in the recipe instead.
    """
    ray = ray_options(
        launcher, jobs=jobs, address=address, cpus=cpus_per_cell, gpus=gpus_per_cell, retries=retries,
        shared=shared_folder,
    )  # fmt: skip
    prepared = prepare_study(
        data, losses=split_losses(losses), seeds=None if seeds is None else parse_seeds(seeds), recipe=recipe, out=out,
        steps=steps, model=model, weights=weights, device=device, jobs=jobs, ray=ray, baseline=baseline,
        format=format_, allow_dropped=allow_dropped, deterministic=deterministic, calibrate=calibrate, tuned=tuned,
        margin=margin, until=until, most_seeds=most_seeds, resplit=resplit, overwrite=overwrite, quiet=quiet,
        command=["smoothiou", *sys.argv[1:]], **parse_settings(set_),
    )  # fmt: skip
    if dry_run:
        _show_cost(prepared.estimate(), as_json=json_)
    else:
        _finish(prepared.run(), as_json=json_, say=prepared.say)


def _finish(study: Study, *, as_json: bool, say: Say) -> None:
    """Print the result, and fail when cells are missing."""
    from smoothiou.files import finite

    summary = study.loaded.summary
    keys = ("headline", "until", "sentence", "summary", "differences", "wins", "bootstrap", "errors")
    output = finite({"study": str(study.folder), "report": str(study.page), **{key: summary.get(key) for key in keys}})
    if not as_json:
        say("\n".join(["", study.verdict(), *study.next_steps(), "", summary["sentence"], ""]))
        print(study.page)
    elif not study.missing:
        print(json.dumps(output))
    study.refuse_missing(details=output)


def _show_cost(output: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a study costs and what it can detect; nothing is written."""
    if as_json:
        print(json.dumps(output))
        return
    cost, to_calibrate = output["estimate"], output["to_calibrate"]
    if to_calibrate:
        print(f"would calibrate first: {', '.join(to_calibrate)} (at least a quarter of a run's time)")
    print(*(cell["id"] for cell in output["cells"]), sep="\n")
    each = "" if cost["run_seconds"] is None else f", {duration(cost['run_seconds'])} each"
    total = "unknown time" if cost["seconds"] is None else f"about {duration(cost['seconds'])} in all"
    free = "" if cost["disk_free_mb"] is None else f" of {cost['disk_free_mb']} MB free"
    print(
        f"{cost['to_run']} of {cost['cells']} cells to run: {counted(cost['steps'], 'step')}{each}, {total} without "
        f"the report, {cost['disk_mb']} MB{free} (from {cost['basis']})"
    )
    print(output["power"]["sentence"])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `0,1,2` or `0-4`.

    Raises:
        ConfigError: anything else, or one seed twice.
    """
    seeds: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not numbers:
            raise ConfigError(f"--seeds: expected numbers as 0,1,2 or 0-4, got {part!r}.")
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if last < first or last - first > 1000:
            raise ConfigError(f"--seeds: expected a range of at most 1000 rising numbers, got {part!r}.")
        seeds += range(first, last + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: expected at least one seed and each once, got {text!r}.")
    return tuple(seeds)
