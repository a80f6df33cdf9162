"""`smoothiou doctor`: what is wrong with a data set, before a week of training finds out."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.cli.options import Format, Json, Model, Quiet, Recipe, Settings, run_config, split_commas
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import Limits, finite, visible
from smoothiou.progress import Progress

if TYPE_CHECKING:
    from smoothiou.data.doctor import Report, Training
    from smoothiou.engine.config import DataConfig


def doctor(
    data: str = "",
    *,
    only: Annotated[str | None, Parameter(help="Ids of the checks to run, with commas.")] = None,
    skip: Annotated[str | None, Parameter(help="Ids of checks not to run, with commas.")] = None,
    strict: Annotated[bool, Parameter(negative="", help="Warnings fail, too.")] = False,
    fast: Annotated[bool, Parameter(negative="", help="Decode no image: headers and annotations only.")] = False,
    html: Annotated[Path | None, Parameter(help="Write a page with pictures of the worst places.")] = None,
    fix: Annotated[Path | None, Parameter(help="Write a repaired copy into this new folder, with fixes.csv.")] = None,
    drop_copies: Annotated[
        bool, Parameter(negative="", help="With --fix: of files of the same bytes in a split, copy the first alone.")
    ] = False,
    format_: Format = None,
    labels: Annotated[str | None, Parameter(help="Which labels, where there are several (pets).")] = None,
    recipe: Recipe = None,
    model: Model = None,
    set_: Settings = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Examine a data set: files, boxes, classes, splits, and what a training would meet.

    Exit code 3 where an error is found (with --strict, also a warning); with --fix, where one is left in the copy.
    DATA is never changed.

    Examples:
        smoothiou doctor DATA
        smoothiou doctor DATA --recipe bccd --html doctor.html --fix DATA-repaired
        smoothiou doctor DATA --fix DATA-repaired --drop-copies

    Args:
        data: folder of a data set, or several joined by `+`; may stand in the recipe instead.
    """
    flags = {"data.path": data or None, "data.format": format_, "data.labels": labels, "model.name": model}
    config = run_config(recipe, set_, flags)
    path = config.data.path
    if not path:
        raise ConfigError("doctor: DATA is missing.", hint="Name the folder of a data set.")
    if fix and (only or skip or fast):
        raise ConfigError("--fix needs all checks.", hint="Leave --only, --skip and --fast out.")
    if drop_copies and not fix:
        raise ConfigError("--drop-copies goes with --fix.", hint="Add --fix OUT.")

    from smoothiou.data.doctor.pictures import example_pictures
    from smoothiou.data.doctor.repair import refuse_taken
    from smoothiou.report.doctor import training_of, write_doctor

    if fix:
        refuse_taken(fix, data=path)
    training = training_of(config)
    report = _examine(
        config.data, training, only=split_commas(only), skip=split_commas(skip), decode=not fast,
        pictures=html is not None, quiet=quiet,
    )  # fmt: skip
    facts: dict[str, Any] = {**report.as_json(), "path": path, "command": shlex.join(["smoothiou", *sys.argv[1:]])}
    if html:
        write_doctor(facts, example_pictures(report), html)
        facts["page"] = str(html)
    if fix:
        facts["fixed"] = _repair(report, fix, training, drop_copies=drop_copies, decode=strict, quiet=quiet)
    _finish(finite(facts), strict=strict, as_json=json_)  # a corner may be NaN, which JSON does not know


def _examine(data: DataConfig, training: Training, *, quiet: bool, **choices: Any) -> Report:
    from smoothiou.data.doctor import examine
    from smoothiou.data.formats.base import Options

    options = Options(**{field.name: getattr(data, field.name) for field in dataclasses.fields(Options)})
    limits = Limits(pixels=data.max_pixels, links=data.follow_links)
    with Progress("images decoded", quiet=quiet, transient=True) as bar:
        return examine(
            data.path, format=data.format, options=options, limits=limits, training=training, progress=bar.update,
            **choices,
        )  # fmt: skip


def _repair(
    report: Report, out: Path, training: Training, *, drop_copies: bool, decode: bool, quiet: bool
) -> dict[str, Any]:
    """Write the repaired copy, and return what is left to repair in it."""
    from smoothiou.data.doctor import examine
    from smoothiou.data.doctor.repair import repair

    with Progress("images written", quiet=quiet, transient=True) as bar:
        changes = repair(report, out, drop_copies=drop_copies, progress=bar.update)
    copy = examine(str(out), limits=report.limits, training=training, decode=decode)
    return {
        "folder": str(out),
        "changes": len(changes),
        "errors": copy.errors,
        "warnings": copy.warnings,
        "findings": [finding.as_json() for finding in copy.findings],
    }


def _finish(facts: dict[str, Any], *, strict: bool, as_json: bool) -> None:
    """Print what was found, and fail where an error is left."""
    from smoothiou.report.doctor import count_findings, doctor_lines

    copy = facts.get("fixed")
    errors, warnings = ((copy or facts)[key] for key in ("errors", "warnings"))
    failed = errors or (strict and warnings)
    if not as_json:
        print(visible(doctor_lines(facts), allowed="\n"))
    elif not failed:
        print(json.dumps(facts))
    if failed:
        by_program = "Repair it, or let --fix OUT write a copy with what can be repaired."
        raise DataError(
            f"{copy['folder'] if copy else facts['path']}: {count_findings(errors, warnings)}.",
            hint="Repair what is left by hand." if copy else by_program,
            details=facts,
        )
