"""`smoothiou doctor`: what is wrong with a data set, before a week of training finds out."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.cli.options import Format, Json, Model, Quiet, Recipe, Settings, run_config
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import finite, visible
from smoothiou.progress import Progress

if TYPE_CHECKING:
    from smoothiou.engine.config import RunConfig
    from smoothiou.engine.open_data import Splits


def doctor(
    data: str = "",
    *,
    only: Annotated[str | None, Parameter(help="Ids of the checks to run, with commas.")] = None,
    skip: Annotated[str | None, Parameter(help="Ids of checks not to run, with commas.")] = None,
    strict: Annotated[bool, Parameter(negative="", help="Warnings fail, too.")] = False,
    fast: Annotated[bool, Parameter(negative="", help="Decode no image: headers and annotations only.")] = False,
    html: Annotated[Path | None, Parameter(help="Write a page with pictures of the worst places.")] = None,
    fix: Annotated[Path | None, Parameter(help="Write a repaired copy into this new folder, with fixes.csv.")] = None,
    format_: Format = None,
    labels: Annotated[str | None, Parameter(help="Which labels, where there are several (pets).")] = None,
    recipe: Recipe = None,
    model: Model = None,
    set_: Settings = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Examine a data set: files, boxes, classes, splits, and what a training would meet.

    Exit code 3 where an error is found (with --strict, also a warning). DATA is never changed.

    Examples:
        smoothiou doctor DATA
        smoothiou doctor DATA --recipe bccd --html doctor.html --fix DATA-repaired

    Args:
        data: folder of a data set, or several joined by `+`; may stand in the recipe instead.
    """
    config = run_config(recipe, set_, {"data.path": data or None, "data.format": format_, "model.name": model})
    path = config.data.path
    if not path:
        raise ConfigError("doctor: DATA is missing.", hint="Name the folder of a data set.")
    if fix and (only or skip or fast):
        raise ConfigError("--fix needs all checks.", hint="Leave --only, --skip and --fast out.")

    from smoothiou.data.doctor import examine
    from smoothiou.data.doctor.repair import refuse_taken

    if fix:
        refuse_taken(fix, data=path)
    with Progress("images decoded", quiet=quiet, transient=True) as bar:
        report = examine(
            path, config=config, format=None if config.data.format == "auto" else config.data.format,
            labels=labels or config.data.labels, only=_words(only), skip=_words(skip), decode=not fast,
            pictures=html is not None, progress=bar.update,
        )  # fmt: skip
    found: dict[str, Any] = {**report.shown(), "path": path, "command": shlex.join(["smoothiou", *sys.argv[1:]])}
    if html:
        from smoothiou.data.doctor.sheet import pictures
        from smoothiou.report.doctor import write_doctor

        write_doctor(found, pictures(report), html)
        found["page"] = str(html)
    if fix:
        from smoothiou.data.doctor.repair import repair

        with Progress("images written", quiet=quiet, transient=True) as bar:
            found["fixed"] = {"folder": str(fix), "changes": len(repair(report, fix, progress=bar.update))}
    found = finite(found)  # a corner may be NaN, which JSON does not know
    failed = report.errors + strict * report.warnings
    if not json_:
        from smoothiou.report.doctor import doctor_lines

        print(visible(doctor_lines(found), keep="\n"))
    elif not failed:
        print(json.dumps(found))
    if failed:
        raise DataError(
            f"{path}: {_counts(found)}.",
            hint="Repair it, or let --fix OUT write a copy with what can be repaired." if not fix else "",
            details=found,
        )


def quick_line(splits: Splits, config: RunConfig) -> str:
    """Return one line on the splits of a training: how many errors and warnings, and how to see more.

    Args:
        splits: as read; no file is opened again.
        config: the settings of the training.
    """
    from smoothiou.data.doctor import quick_look

    named = {"train": splits.train, "val": splits.val, "test": splits.test}
    report = quick_look({name: split for name, split in named.items() if split is not None}, config=config)
    words = f"smoothiou doctor {shlex.quote(config.data.path)}"
    if not report.findings:
        return f"doctor: nothing found at a glance; {words} looks into the images, too"
    ids = ", ".join(finding.check.id for finding in report.findings)
    return f"doctor: {_counts({'errors': report.errors, 'warnings': report.warnings})} ({ids}); see {words}"


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _counts(found: Mapping[str, Any]) -> str:
    both = ((found["errors"], "error"), (found["warnings"], "warning"))
    return ", ".join(f"{number} {word}" if number == 1 else f"{number} {word}s" for number, word in both)
