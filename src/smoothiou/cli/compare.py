"""`smoothiou compare`: losses times seeds, paired, and an honest report."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.cli.calibration import Calibration
from smoothiou.cli.doctor import quick_line
from smoothiou.cli.launcher import Address, Cpus, Gpus, Launcher, Retries, Shared, StudyProgress, ray_options
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
    check_names,
    data_name,
    fit_length,
    parse_settings,
    run_config,
    usual_recipe,
)  # fmt: skip
from smoothiou.cli.summary import data_lines, watch_lines
from smoothiou.errors import ConfigError, IncompleteStudyError
from smoothiou.loss_spec import split_losses
from smoothiou.progress import duration
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.engine.config import RunConfig
    from smoothiou.engine.open_data import Splits
    from smoothiou.study import RayOptions
    from smoothiou.study.stage_weights import StageWeights

PER_CELL = {"train.seed": "--seeds", "loss.name": "--losses"}
"""Settings that differ from cell to cell, and the option that gives them."""
CUT = "data.resplit"
"""Another one with --resplit: the cell's seed."""


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
    flags = {
        "data.path": data or None, "data.format": format_, "data.allow_dropped": allow_dropped, "train.steps": steps,
        "train.device": device, "model.name": model, "model.weights": weights,
        "train.deterministic": deterministic or None,
    }  # fmt: skip
    _refuse_settings_of_cells(set_, resplit=resplit)
    recipe = usual_recipe(recipe, set_, data=data, model=model)
    config = run_config(recipe, set_, {**flags, CUT: "none"} if resplit else flags)
    if not config.data.path:
        raise ConfigError("compare: DATA is missing.", hint="Name a folder, or `shapes` for the synthetic data set.")
    if jobs < 1:
        raise ConfigError(f"--jobs: expected 1 or more, got {jobs}.")
    ray = ray_options(
        launcher, jobs=jobs, address=address, cpus=cpus_per_cell, gpus=gpus_per_cell, retries=retries,
        shared=shared_folder,
    )  # fmt: skip
    chosen = split_losses(losses)
    check_names(chosen)
    rule, numbers = _rule_and_seeds(until, most_seeds, seeds, losses=len(chosen))
    folder = out or Path("runs") / f"{data_name(config.data.path)}-compare"

    from smoothiou.engine.detector import check, try_build

    # Before the plan is written: a plan with a wrong loss could never be done. On a cluster, the device is there.
    check(config.replace({"train.device": "auto"}) if ray else config, losses=chosen)
    from smoothiou.data.faults import refuse_long
    from smoothiou.engine.open_data import describe_data, open_splits, pool
    from smoothiou.study import facts_of_cuts, lock_study, make_plan, write_or_continue
    from smoothiou.study.cells import features_folder
    from smoothiou.study.plan import continued
    from smoothiou.study.tuned import read_tuned

    began = time.monotonic()
    splits = open_splits(config.data)
    opening = time.monotonic() - began
    refuse_long(splits.train, splits.val, splits.test, max_size=config.model.max_size)
    config, fitted = fit_length(config, recipe=recipe, settings=set_, steps=steps, images=len(splits.train.records))
    if not ray:
        try_build(config, classes=splits.train.classes)
    images = pool(config.data, splits) if resplit else None
    everything = functools.partial(
        make_plan, config, losses=chosen, baseline=baseline, data=describe_data(splits),
        classes=splits.train.classes, command=["smoothiou", *sys.argv[1:]],
        margin=None if margin is None else {"AP": margin / 100}, until=rule,
        tuned=read_tuned(tuned, losses=chosen) if tuned else None,
    )  # fmt: skip

    def planned(seeds: Sequence[int], weights: Mapping[str, StageWeights] | None) -> dict[str, Any]:
        return everything(seeds=seeds, weights=weights, cuts=facts_of_cuts(images, seeds) if images else None)

    calibration = Calibration(config, folder, chosen, overwrite=overwrite) if calibrate else None
    plan = planned(seeds=numbers, weights=calibration.weights if calibration else None)
    say = say_nothing if quiet else say_on_stderr
    _describe(plan, say)
    if not quiet:
        say(quick_line(splits, config))
        if fitted:
            say(fitted)
    if dry_run:
        plan, happened = continued(folder, plan, overwrite=overwrite, baseline=baseline)
        if happened:
            say(happened)

        device = "auto" if ray else config.train.device
        timed = config.replace({"loss.name": plan["baseline"], "train.device": device})
        _estimate(
            folder, plan, functools.partial(_time_run, timed, splits, opening=opening, jobs=jobs), jobs=jobs,
            overwrite=overwrite, to_calibrate=calibration.new if calibration else [], as_json=json_,
        )  # fmt: skip
        return
    with lock_study(folder):
        if calibration:
            plan = planned(seeds=numbers, weights=calibration.measure(plan, splits, quiet=quiet, say=say))
        plan, happened = write_or_continue(folder, plan, overwrite=overwrite, baseline=baseline)
        if calibration:
            calibration.write()
        if happened:
            say(happened)
        more = [loss for loss in plan["losses"] if loss not in chosen]
        more += [f"seed {seed}" for seed in plan["seeds"] if seed not in numbers and not rule]
        if more:
            say(f"The study also holds {', '.join(more)}; its report compares all with {plan['baseline']}.")
        run_plan(folder, plan, jobs=jobs, quiet=quiet, say=say, ray=ray)
        while rule and (added := _more_seeds(folder, plan, number=max(1, jobs // len(plan["losses"])), say=say)):
            grown = planned(seeds=[*plan["seeds"], *added], weights=plan["weights"] or None)
            plan, _ = write_or_continue(folder, grown)
            run_plan(folder, plan, jobs=jobs, quiet=quiet, say=say, ray=ray)
        shutil.rmtree(features_folder(folder), ignore_errors=True)
        _finish(folder, plan, as_json=json_, say=say)


def _refuse_settings_of_cells(settings: Sequence[str] | None, *, resplit: bool) -> None:
    """Refuse settings that differ from cell to cell: they would be silently replaced."""
    for key in parse_settings(settings):
        if key in PER_CELL or (resplit and key == CUT):
            hint = f"Give {PER_CELL[key]} instead." if key in PER_CELL else "Leave --resplit or it out."
            raise ConfigError(f"compare: {key} differs from cell to cell.", hint=hint)


def _estimate(
    folder: Path,
    plan: Mapping[str, Any],
    time_run: Callable[[], tuple[float, str]],
    *,
    jobs: int,
    overwrite: bool,
    to_calibrate: Sequence[str],
    as_json: bool,
) -> None:
    """Print what a study will cost, and which differences it can detect."""
    from smoothiou.study import estimate
    from smoothiou.study.power import power_of

    earlier = folder.parent if overwrite else folder  # cells of a study that is overwritten do not count
    cost = estimate(plan, earlier, jobs=jobs, time_run=time_run)
    power = power_of(plan, earlier, run_seconds=cost["run_seconds"], jobs=jobs)
    _show_cost(folder, plan, cost, power, to_calibrate=to_calibrate, as_json=as_json)


def _rule_and_seeds(
    until: float | None, most_seeds: int | None, seeds: str | None, *, losses: int
) -> tuple[dict[str, Any] | None, tuple[int, ...]]:
    """Return the stopping rule, if there is one, and the seeds to begin with.

    Raises:
        ConfigError: options that do not go together, or a value out of range.
    """
    if until is None:
        if most_seeds is not None:
            raise ConfigError("--most-seeds is of a study that adds seeds.", hint="Give --until with it.")
        return None, parse_seeds("0,1,2" if seeds is None else seeds)
    from smoothiou.study.until import FIRST_SEEDS, MOST_SEEDS, next_seeds, stopping_rule

    rule = stopping_rule(until / 100, most_seeds=MOST_SEEDS if most_seeds is None else most_seeds)
    if losses < 2:
        raise ConfigError("--until: expected two losses or more, got one: there is no difference to know.")
    numbers = list(parse_seeds(seeds)) if seeds is not None else []
    numbers += next_seeds(numbers, number=max(0, min(FIRST_SEEDS, rule["most_seeds"]) - len(numbers)))
    if len(numbers) > rule["most_seeds"]:
        raise ConfigError(f"--seeds: expected at most {rule['most_seeds']} (--most-seeds), got {len(numbers)}.")
    return rule, tuple(numbers)


def _more_seeds(folder: Path, plan: Mapping[str, Any], *, number: int, say: Any) -> list[int]:
    """Look at a study and return the seeds to add: none where its rule says stop, or cells are still missing."""
    from smoothiou.study import collect
    from smoothiou.study.comparison import compare_cells
    from smoothiou.study.until import next_seeds

    compare_cells(folder, plan)
    decision = collect(folder)["until"]
    if not decision:
        return []
    say(decision["sentence"])
    left = plan["until"]["most_seeds"] - len(plan["seeds"])
    return next_seeds(plan["seeds"], number=min(number, left)) if decision["go_on"] else []


def run_plan(
    folder: Path, plan: Mapping[str, Any], *, jobs: int, quiet: bool, say: Any, ray: RayOptions | None = None
) -> None:
    """Train the cells that are not done: in this process, in several, or on the machines of a Ray cluster."""
    from smoothiou.study import run_cells, run_on_ray, run_parallel, train_cell

    progress = StudyProgress(say, starts=jobs > 1)
    if ray:
        run_on_ray(folder, plan, ray, on_event=progress, say=say)
    elif jobs == 1:
        run_cells(folder, plan, functools.partial(train_cell, quiet=quiet), on_event=progress)
    else:
        run_parallel(folder, plan, jobs=jobs, on_event=progress)


def report_study(folder: Path, plan: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Write the report of the cells that are done, and return its page and the content of `collect`."""
    from smoothiou.report.write import write_report
    from smoothiou.study import collect
    from smoothiou.study.comparison import compare_cells

    compare_cells(folder, plan)
    page = next(path for path in write_report(folder) if path.suffix == ".html")
    return page, collect(folder)


def _finish(folder: Path, plan: Mapping[str, Any], *, as_json: bool, say: Any) -> None:
    """Write the report, print the result, and fail when cells are missing."""
    from smoothiou.files import finite

    began = time.monotonic()
    from smoothiou.report.advice import next_steps
    from smoothiou.report.loaded_study import load_study

    page, summary = report_study(folder, plan)
    say(f"Report written in {time.monotonic() - began:.0f} s.")
    keys = ("headline", "until", "sentence", "summary", "differences", "wins", "bootstrap", "errors")
    output = finite({"study": str(folder), "report": str(page), **{key: summary.get(key) for key in keys}})
    missing = [cell["id"] for cell in summary["cells"] if cell["status"] != "done"]
    if not as_json:
        steps = next_steps(load_study(folder))
        say("\n".join(["", summary["headline"]["text"], *steps, "", summary["sentence"], ""]))
        print(page)
    elif not missing:
        print(json.dumps(output))
    if missing:
        raise IncompleteStudyError(
            f"{folder}: {len(missing)} of {len(summary['cells'])} cells are missing: {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}; the report shows the others.",
            hint=f"{_where_to_look(folder, missing)}; the same command tries them again.",
            details=output,
        )


def _where_to_look(folder: Path, missing: list[str]) -> str:
    failed = [folder / "cells" / cell for cell in missing if (folder / "cells" / cell / "error.txt").is_file()]
    return f"See error.txt in {failed[0]}" if failed else "Another process runs them: wait for it"


def _describe(plan: Mapping[str, Any], say: Any) -> None:
    from smoothiou.study.plan import cuts_in_words

    settings, losses, seeds = plan["settings"], len(plan["losses"]), len(plan["seeds"])
    say(data_lines(plan["data"]))
    for line in watch_lines(settings, plan["data"]):
        say(line)
    say(
        f"{counted(losses, 'loss', 'losses')} x {counted(seeds, 'seed')}, {counted(settings['train.steps'], 'step')} "
        f"of {counted(settings['train.batch_size'], 'image')} each, {settings['model.name']}; "
        f"classes: {', '.join(plan['classes'])}"
    )
    if cuts := plan.get("cuts"):
        say(cuts_in_words(cuts))
    if rule := plan.get("until"):
        say(
            f"Seeds are added until every AP difference is known to +-{100 * rule['half_width']:g} points, at most "
            f"{rule['most_seeds']}."
        )


def _time_run(config: RunConfig, splits: Splits, *, opening: float, jobs: int) -> tuple[float, str]:
    """Return the seconds of a run, data and all, and how they were found."""
    from smoothiou.engine.timing import IMAGES, STEPS, time_run
    from smoothiou.study.local import threads_of_each

    threads = threads_of_each(jobs) if jobs > 1 else None
    measured = time_run(config, splits, threads=threads)
    shared = f" on {counted(threads, 'thread')}, as each of {jobs} jobs has" if threads else ""
    images = min(IMAGES, len(splits.test.records))
    steps = counted(min(STEPS, config.train.steps), "step")
    how = f"{steps} and an evaluation of {counted(images, 'image')}, timed here{shared}"
    return opening + measured.seconds, how


def _show_cost(
    folder: Path,
    plan: Mapping[str, Any],
    cost: Mapping[str, Any],
    power: Mapping[str, Any],
    *,
    to_calibrate: Sequence[str],
    as_json: bool,
) -> None:
    """Print what a study costs and what it can detect; nothing is written."""
    if as_json:
        output = {"study": str(folder), "estimate": cost, "power": power, "to_calibrate": to_calibrate}
        print(json.dumps({**output, "cells": plan["cells"]}))
        return
    if to_calibrate:
        print(f"would calibrate first: {', '.join(to_calibrate)} (at least a quarter of a run's time)")
    print(*(cell["id"] for cell in plan["cells"]), sep="\n")
    each = "" if cost["run_seconds"] is None else f", {duration(cost['run_seconds'])} each"
    total = "unknown time" if cost["seconds"] is None else f"about {duration(cost['seconds'])} in all"
    free = "" if cost["disk_free_mb"] is None else f" of {cost['disk_free_mb']} MB free"
    print(
        f"{cost['to_run']} of {cost['cells']} cells to run: {counted(cost['steps'], 'step')}{each}, {total} without "
        f"the report, {cost['disk_mb']} MB{free} (from {cost['basis']})"
    )
    print(power["sentence"])


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


def say_on_stderr(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def say_nothing(text: str) -> None:
    """Print nothing."""
