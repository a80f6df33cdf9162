"""Compare losses; `smoothiou compare` is these lines with words around them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.api.say import say_nothing, say_on_stderr
from smoothiou.api.settings import Named, check_names, command_line, configure, data_name, dotted
from smoothiou.engine.open_data import Data, data_setting
from smoothiou.errors import ConfigError
from smoothiou.import_object import IN_PROCESS, name_of

if TYPE_CHECKING:
    from smoothiou.api.prepare import PreparedStudy
    from smoothiou.api.settings import Configured
    from smoothiou.api.study import Study
    from smoothiou.engine.config import RunConfig
    from smoothiou.engine.open_data import Splits
    from smoothiou.study import RayOptions
    from smoothiou.study.stage_weights import StageWeights

PER_CELL = {"train.seed": "--seeds", "loss.name": "--losses"}
"""Settings that differ from cell to cell, and the option that gives them."""
CUT = "data.resplit"
"""Another one with --resplit: the cell's seed."""
SEEDS = (0, 1, 2)


def compare(
    data: Data = "",
    *,
    losses: Sequence[Named] = ("huber", "smooth-iou"),
    seeds: Sequence[int] | None = None,
    **options: Any,
) -> Study:
    """Train a detector with each loss on the same seeds, and report whether the losses can be told apart.

    The same call again continues a study; more losses or seeds extend it. It is `smoothiou compare`.

    Args:
        data: folder of a data set, several joined by `+`, `shapes`; or records by split, or a function that returns
            them.
        losses: the baseline first; names, or objects as for `train`. Those that cannot be imported by a name are known
            to this process alone, so with `jobs` above 1 they are refused.
        seeds: whole numbers from 0, each shared by all losses; None: 0, 1, 2, or five with `until`.
        **options: as of `prepare_study`: `recipe`, `out`, `steps`, `model`, `jobs`, `margin`, `until`, `quiet` and
            more; and any setting, with two underscores for its dot: `optim__lr=0.002`.

    Returns:
        The study: `summary()` is a table, `verdict()` a sentence, `best()` a run.

    Raises:
        ConfigError: an unknown name or setting, a value out of range, or `out` holds another study.
        DataError: the data has something wrong.
        IncompleteStudyError: a training failed; `load_study` shows the others, and the same call tries it again.
        InterruptedRun: a signal came; the state is saved.
    """
    study = prepare_study(data, losses=losses, seeds=seeds, **options).run()
    study.refuse_missing()
    return study


def prepare_study(
    data: Data = "",
    *,
    losses: Sequence[Named],
    seeds: Sequence[int] | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    steps: int | None = None,
    model: Named | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    jobs: int = 1,
    ray: RayOptions | None = None,
    baseline: str | None = None,
    format: str | None = None,
    allow_dropped: int | None = None,
    deterministic: bool = False,
    calibrate: bool = False,
    tuned: str | Path | None = None,
    margin: float | None = None,
    until: float | None = None,
    most_seeds: int | None = None,
    resplit: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    command: Sequence[str] = (),
    **settings: Any,
) -> PreparedStudy:
    """Check and plan a study; nothing is written yet.

    Args:
        data, losses, seeds: as for `compare`.
        recipe, steps, model, weights, device, format, allow_dropped, deterministic, quiet: as for `train`.
        out: folder of the study; None: runs/DATA-compare.
        jobs: cells that train at once, each in a process of its own where it is above 1.
        ray: the machines of a Ray cluster instead.
        baseline: the loss that others are compared with, if not the first.
        calibrate: first measure the weight with which each loss pulls as the baseline does.
        tuned: TOML file with settings of single losses (`study.tuned`).
        margin: difference in AP points that does not matter; None: 1.
        until: add seeds until each AP difference is known to +- so many points.
        most_seeds: no more than these with `until`; None: 20.
        resplit: each seed cuts train and val anew.
        overwrite: start anew in a folder that holds another study.
        command: the words of the command line, for the report; (): those that would do the same.
        **settings: any setting, with two underscores for its dot.

    Raises:
        ConfigError, DataError, CheckpointError: as for `compare`.
    """
    settings = dotted(settings)
    _refuse_per_cell(settings, resplit=resplit)
    data, model = data_setting(data), None if model is None else name_of(model)
    chosen = [name_of(loss) for loss in ([losses] if isinstance(losses, str) else losses)]
    configured = configure(
        data, command="compare", settings=settings, recipe=recipe, steps=steps, model=model, weights=weights,
        device=device, format=format, allow_dropped=allow_dropped, deterministic=deterministic,
        others={CUT: "none"} if resplit else {},
    )  # fmt: skip
    config = configured.config
    if jobs < 1:
        raise ConfigError(f"--jobs: expected 1 or more, got {jobs}.")
    _refuse_objects([*chosen, config.model.name, config.data.path], elsewhere=jobs > 1 or ray is not None)
    check_names(chosen)
    rule, numbers = _rule_and_seeds(until, most_seeds, seeds, losses=len(chosen))
    folder = Path(out) if out else Path("runs") / f"{data_name(config.data.path)}-compare"
    command = command or command_line("compare", data, {
        "losses": chosen, "seeds": numbers, "recipe": recipe, "out": out, "steps": steps, "model": model,
        "weights": weights, "device": device, "jobs": None if jobs == 1 else jobs, "baseline": baseline,
        "format": format, "allow_dropped": allow_dropped, "deterministic": deterministic, "calibrate": calibrate,
        "tuned": tuned, "margin": margin, "until": until, "most_seeds": most_seeds, "resplit": resplit, **settings,
    })  # fmt: skip

    from smoothiou.api.prepare import PreparedStudy, describe_plan
    from smoothiou.engine.open_data import describe_data, pool
    from smoothiou.lab.calibration import Calibration
    from smoothiou.report.doctor import quick_line
    from smoothiou.study import facts_of_cuts, make_plan
    from smoothiou.study.tuned import read_tuned

    config, splits, opening, fitted = _open(configured, losses=chosen, on_cluster=ray is not None)
    images = pool(config.data, splits) if resplit else None
    facts, by_loss = describe_data(splits), read_tuned(Path(tuned), losses=chosen) if tuned else None
    margins = None if margin is None else {"AP": margin / 100}

    def planned(seeds: Sequence[int], weights: Mapping[str, StageWeights] | None) -> dict[str, Any]:
        return make_plan(
            config, losses=chosen, seeds=seeds, baseline=baseline, data=facts, classes=splits.train.classes,
            command=command, weights=weights, margin=margins, until=rule, tuned=by_loss,
            cuts=facts_of_cuts(images, seeds) if images else None,
        )  # fmt: skip

    calibration = Calibration(config, folder, chosen, overwrite=overwrite) if calibrate else None
    plan = planned(numbers, calibration.weights if calibration else None)
    say = say_nothing if quiet else say_on_stderr
    if not quiet:
        describe_plan(plan, say)
        say(quick_line(splits, config))
        if fitted:
            say(fitted)
    return PreparedStudy(
        folder=folder, config=config, splits=splits, opening=opening, plan=plan, planned=planned,
        calibration=calibration, jobs=jobs, ray=ray, baseline=baseline, overwrite=overwrite, quiet=quiet, say=say,
    )  # fmt: skip


def _open(configured: Configured, *, losses: Sequence[str], on_cluster: bool) -> tuple[RunConfig, Splits, float, str]:
    """Check losses and detector, read the data in so many seconds, and fit the length to it, as it says in a line.

    Before the plan is written: one with a wrong loss or detector could never be done.
    """
    from smoothiou.data.faults import refuse_long
    from smoothiou.engine.detector import build, check
    from smoothiou.engine.open_data import open_splits

    config = configured.config
    check(
        config.replace({"train.device": "auto"}) if on_cluster else config, losses=losses
    )  # the cluster has the device
    began = time.monotonic()
    splits = open_splits(config.data)
    opening = time.monotonic() - began
    refuse_long(splits.train, splits.val, splits.test, max_size=config.model.max_size)
    config, fitted = configured.fitted(len(splits.train.records))
    if not on_cluster:
        build(config, classes=splits.train.classes)
    return config, splits, opening, fitted


def _refuse_per_cell(settings: Mapping[str, Any], *, resplit: bool) -> None:
    """Refuse settings that each cell has of its own, and that would be replaced without a word."""
    for key in settings:
        if key in PER_CELL or (resplit and key == CUT):
            hint = f"Give {PER_CELL[key]} instead." if key in PER_CELL else "Leave --resplit or it out."
            raise ConfigError(f"compare: {key} differs from cell to cell.", hint=hint)


def _refuse_objects(names: Sequence[str], *, elsewhere: bool) -> None:
    """Refuse objects that are known to this process alone where others train the cells."""
    objects = [name for name in names if name.startswith(IN_PROCESS)]
    if objects and elsewhere:
        raise ConfigError(
            f"{', '.join(objects)}: known to this process alone, and other processes would train the cells.",
            hint="Take jobs=1, or define it in a module and name it package.module:object.",
        )


def _rule_and_seeds(
    until: float | None, most_seeds: int | None, seeds: Sequence[int] | None, *, losses: int
) -> tuple[dict[str, Any] | None, tuple[int, ...]]:
    """Return the stopping rule, if there is one, and the seeds to begin with.

    Raises:
        ConfigError: options that do not go together, or a value out of range.
    """
    if until is None:
        if most_seeds is not None:
            raise ConfigError("--most-seeds is of a study that adds seeds.", hint="Give --until with it.")
        return None, tuple(SEEDS if seeds is None else seeds)
    from smoothiou.study.until import FIRST_SEEDS, MOST_SEEDS, next_seeds, stopping_rule

    rule = stopping_rule(until / 100, most_seeds=MOST_SEEDS if most_seeds is None else most_seeds)
    if losses < 2:
        raise ConfigError("--until: expected two losses or more, got one: there is no difference to know.")
    numbers = list(seeds or ())
    numbers += next_seeds(numbers, number=max(0, min(FIRST_SEEDS, rule["most_seeds"]) - len(numbers)))
    if len(numbers) > rule["most_seeds"]:
        raise ConfigError(f"--seeds: expected at most {rule['most_seeds']} (--most-seeds), got {len(numbers)}.")
    return rule, tuple(numbers)
