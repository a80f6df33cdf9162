"""`smoothiou reproduce`: the paper's tables and figures, with ours beside them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from smoothiou.api.say import say_nothing, say_on_stderr
from smoothiou.cli.compare import parse_seeds
from smoothiou.cli.options import Device, Json, Overwrite, Quiet, Settings, Weights, given, parse_settings
from smoothiou.engine.config import RunConfig, build_config
from smoothiou.errors import DataError, IncompleteStudyError
from smoothiou.report.summary_lines import data_lines
from smoothiou.study.paper import LOSSES, TABLE_1, TABLE_2, TABLE_3, TITLES
from smoothiou.study.reproduce import Scale, choose_sets, deviations, find_data, recipe_of, settings_of, summarize

SEEDS = {"tiny": "0", "full": "0,1,2"}


def reproduce(
    what: Literal["table1", "table2", "table3", "figures"],
    *,
    data: Annotated[
        str, Parameter(help="Of the six data sets only these: pets,udacity,vwfs,voc2007,voc2012,voc++.")
    ] = "",
    scale: Annotated[
        Scale, Parameter(help="tiny: a small net and a few steps, to try every step; full: the paper's.")
    ] = "full",
    data_root: Annotated[Path, Parameter(help="Folder that holds the data sets.")] = Path("data"),
    reading: Annotated[
        str,
        Parameter(
            help="The loss that stands for the paper's Smooth IoU; another reading is `smooth-iou[iou_on=codes]`."
        ),
    ] = LOSSES[1],
    seeds: Annotated[str | None, Parameter(help="Seeds, as 0,1,2 or 0-4; default 0,1,2, and 0 for tiny.")] = None,
    out: Annotated[Path, Parameter(help="Folder of the studies and figures.")] = Path("runs/reproduce"),
    weights: Weights = None,
    device: Device = None,
    set_: Settings = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Run or continue the paper's studies, and print its numbers beside ours, with all differences from the paper.

    Tables 2 and 3 come from the same studies, one a data set. The same command again continues.

    Examples:
        smoothiou reproduce table1
        smoothiou reproduce table2 --scale tiny --data-root DATA
        smoothiou reproduce table3 --data pets,voc2007 --data-root DATA
        smoothiou reproduce table2 --data pets --data-root DATA --reading "smooth-iou[iou_on=codes]"

    Args:
        what: table1 (recipes), table2 (IoU), table3 (COCO's metrics) or figures (1 to 3).
    """
    names = choose_sets(data)
    if what == "figures":
        from smoothiou.cli.curves import curves

        curves(out=out / "figures", quiet=quiet, json_=json_)
        return
    if what == "table1":
        _table_1(names, json_=json_)
        return
    changes = {**given({"model.weights": weights, "train.device": device}), **parse_settings(set_)}
    numbers = parse_seeds(SEEDS[scale] if seeds is None else seeds)
    folder_suffix = "" if reading == LOSSES[1] else "-" + re.sub(r"[^a-z0-9]+", "-", reading).strip("-")
    studies, absent, losses = {}, {}, (LOSSES[0], reading)
    for name in names:
        try:
            path = find_data(name, data_root)
        except DataError as error:
            absent[name] = error.message
            continue
        config = settings_of(name, path, scale=scale, changes=changes)
        folder = out / scale / f"{name}{folder_suffix}"
        studies[name] = _study(name, config, folder, losses, numbers, overwrite=overwrite, quiet=quiet)
    if not studies:
        raise DataError("; ".join(absent.values()), hint="Name the folder of the data sets with --data-root.")
    _print_table(what, scale, studies, absent, json_=json_)


def _study(
    name: str,
    config: RunConfig,
    folder: Path,
    losses: tuple[str, str],
    seeds: tuple[int, ...],
    *,
    overwrite: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Train what is missing of a data set's study, and return its numbers."""
    from smoothiou.api.prepare import report_study, run_plan
    from smoothiou.engine.detector import check
    from smoothiou.engine.open_data import describe_data, open_splits
    from smoothiou.study import lock_study, make_plan, write_or_continue

    say = say_nothing if quiet else say_on_stderr
    say(f"\n{TITLES[name]}: {config.data.path}")
    check(config, losses=losses)
    splits = open_splits(config.data)
    plan = make_plan(
        config, losses=losses, seeds=seeds, data=describe_data(splits), classes=splits.train.classes,
        command=["smoothiou", *sys.argv[1:]],
    )  # fmt: skip
    say(data_lines(plan["data"]))
    with lock_study(folder):
        plan, happened = write_or_continue(folder, plan, overwrite=overwrite)
        if happened:
            say(happened)
        run_plan(folder, plan, jobs=1, quiet=quiet, say=say)
        done = report_study(folder, plan)
    return {
        "study": str(folder),
        "report": str(done.page),
        "data": config.data.path,
        "seeds": plan["seeds"],
        "reading": losses[1],
        "ours": summarize(done.loaded.summary, losses=losses),
        "missing": done.missing,
        "deviations": deviations(name, config, plan["data"]),
    }


def _print_table(what: str, scale: str, studies: Mapping[str, Any], absent: Mapping[str, str], *, json_: bool) -> None:
    """Print the table, and fail where something is missing."""
    from smoothiou.report.paper_tables import table_2, table_3
    from smoothiou.report.text_table import text_table

    sets = {}
    for name, study in studies.items():
        pairs = {"mean_iou": TABLE_2[name], **TABLE_3[name]}
        sets[name] = {"paper": {key: dict(zip(LOSSES, pair, strict=True)) for key, pair in pairs.items()}, **study}
    output = {"what": what, "scale": scale, "sets": sets, "absent": dict(absent)}
    missing = [f"{name}: {cell}" for name, study in studies.items() for cell in study["missing"]]
    missing += [f"{name}: {reason}" for name, reason in absent.items()]
    if not json_:
        table = table_2 if what == "table2" else table_3
        print(text_table(table({name: study["ours"] for name, study in studies.items()})))
        if scale == "tiny":
            print("\nScale tiny tries every step with a small net and a few iterations: our numbers mean nothing.")
        print(_deviations(studies))
    elif not missing:
        print(json.dumps(output))
    if missing:
        raise IncompleteStudyError(
            f"{len(missing)} parts are missing: {'; '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}",
            hint="The same command tries them again; --data chooses data sets.",
            details=output,
        )


def _deviations(studies: Mapping[str, Any]) -> str:
    """Return the differences from the paper: first those of all data sets, then those of each."""
    lists = [study["deviations"] for study in studies.values()]
    common = [line for line in lists[0] if all(line in other for other in lists)] if len(lists) > 1 else []
    lines = ["", "Not as in the paper:", *(f"  {line}" for line in common)]
    for name, study in studies.items():
        lines += ["", f"{TITLES[name]} ({study['study']}, seeds {', '.join(map(str, study['seeds']))}):"]
        if study["reading"] != LOSSES[1]:
            lines.append(f"  Smooth IoU is {study['reading']}.")
        lines += [f"  {line}" for line in study["deviations"] if line not in common]
    return "\n".join(lines)


def _table_1(names: tuple[str, ...], *, json_: bool) -> None:
    from smoothiou.report.paper_tables import table_1
    from smoothiou.report.text_table import text_table

    recipes = {name: {loss: build_config(recipe_of(name, loss), {}) for loss in LOSSES} for name in names}
    if not json_:
        print(text_table(table_1(recipes)))
        return
    sets = {
        name: {
            "paper": TABLE_1[name]._asdict(),
            "ours": {loss: {"recipe": recipe_of(name, loss), **config.flat()} for loss, config in configs.items()},
        }
        for name, configs in recipes.items()
    }
    print(json.dumps({"what": "table1", "sets": sets}))
