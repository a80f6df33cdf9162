"""`smoothiou doctor`: what is wrong with a data set, before a week of training finds out."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from smoothiou.cli.options import Format, Json, Model, Quiet, Recipe, Settings, run_config
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import Limits, finite, visible
from smoothiou.progress import Progress


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

    from smoothiou.data.doctor import examine
    from smoothiou.data.doctor.pictures import example_pictures
    from smoothiou.data.doctor.repair import refuse_taken, repair
    from smoothiou.data.formats.base import Options
    from smoothiou.report.doctor import count_findings, doctor_lines, training_of, write_doctor

    if fix:
        refuse_taken(fix, data=path)
    settings = config.data
    options = Options(
        labels=settings.labels,
        split_seed=settings.split_seed,
        cut=settings.cut,
        images=settings.images,
        size=settings.size,
        loose=settings.loose,
        long_tail=settings.long_tail,
    )
    with Progress("images decoded", quiet=quiet, transient=True) as bar:
        report = examine(
            path,
            format=settings.format,
            options=options,
            limits=Limits(pixels=settings.max_pixels, links=settings.follow_links),
            training=training_of(config),
            only=_split_commas(only),
            skip=_split_commas(skip),
            decode=not fast,
            pictures=html is not None,
            progress=bar.update,
        )
    facts: dict[str, Any] = {**report.as_json(), "path": path, "command": shlex.join(["smoothiou", *sys.argv[1:]])}
    if html:
        write_doctor(facts, example_pictures(report), html)
        facts["page"] = str(html)
    if fix:
        with Progress("images written", quiet=quiet, transient=True) as bar:
            changes = repair(report, fix, drop_copies=drop_copies, progress=bar.update)
        copy = examine(str(fix), limits=report.limits, training=training_of(config), decode=strict)
        facts["fixed"] = {
            "folder": str(fix),
            "changes": len(changes),
            "errors": copy.errors,
            "warnings": copy.warnings,
            "findings": [finding.as_json() for finding in copy.findings],
        }
    facts = finite(facts)  # a corner may be NaN, which JSON does not know
    judged = facts["fixed"] if fix else facts
    failed = judged["errors"] + strict * judged["warnings"]
    if not json_:
        print(visible(doctor_lines(facts), keep="\n"))
    elif not failed:
        print(json.dumps(facts))
    if failed:
        raise DataError(
            f"{fix or path}: {count_findings(judged['errors'], judged['warnings'])}.",
            hint="Repair what is left by hand."
            if fix
            else "Repair it, or let --fix OUT write a copy with what can be repaired.",
            details=facts,
        )


def _split_commas(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
