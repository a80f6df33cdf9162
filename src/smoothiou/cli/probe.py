"""`smoothiou probe`: how well second stages refine slightly wrong boxes, and which loss teaches that best."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Device, Json, Overwrite, Quiet, given
from smoothiou.errors import ConfigError, IncompleteStudyError
from smoothiou.words import counted


def probe(
    *runs: Path,
    refit: Annotated[
        bool, Parameter(negative="", help="Train box regressors anew on the crops of one run, with each loss.")
    ] = False,
    losses: Annotated[str | None, Parameter(help="With --refit: box losses, the baseline first.")] = None,
    seeds: Annotated[str | None, Parameter(help="With --refit: seeds, as 0,1,2 or 0-4 (default 0,1,2).")] = None,
    out: Annotated[
        Path | None, Parameter(help="Folder for probe.json, .csv, .tex and .html; with --refit, default RUN/refit.")
    ] = None,
    baseline: Annotated[
        str | None, Parameter(help="The run or loss that others are compared with; default: the first.")
    ] = None,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    data: Annotated[str | None, Parameter(help="Another data set than the one of the runs.")] = None,
    split: Annotated[str | None, Parameter(help="Another split than the runs' test split.")] = None,
    fresh: Annotated[
        bool, Parameter(negative="", help="Compute the probes also where a run has recorded them.")
    ] = False,
    depth: Annotated[
        Literal["head", "last"] | None,
        Parameter(help="With --refit: train the whole box head from random weights, or its last layer alone."),
    ] = None,
    steps: Annotated[int | None, Parameter(help="With --refit: steps of each training.")] = None,
    batch: Annotated[int | None, Parameter(help="With --refit: boxes a step.")] = None,
    rate: Annotated[float | None, Parameter(help="With --refit: peak of the learning rate.")] = None,
    boxes: Annotated[int | None, Parameter(help="With --refit: crops to train on.")] = None,
    test_boxes: Annotated[int | None, Parameter(help="With --refit: crops to test on, where there are more.")] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Compare how tightly second stages refine the same jittered gt boxes, box by box.

    Examples:
        smoothiou probe RUN-A RUN-B
        smoothiou probe STUDY --out PROBE
        smoothiou probe --refit RUN --losses huber,smooth-iou,giou --seeds 0,1,2

    Args:
        runs: folders of runs or studies, the baseline first; with --refit, one run.
    """
    options = given(
        {"depth": depth, "steps": steps, "batch": batch, "rate": rate, "boxes": boxes, "test_boxes": test_boxes}
    )
    common = {"checkpoint": checkpoint, "data": data, "device": device, "quiet": quiet}
    if refit:
        _refuse(
            {"split": split, "fresh": fresh or None, "baseline": baseline},
            "does not go with --refit", hint="Leave it out; name the baseline first.",
        )  # fmt: skip
        _refit(runs, losses, seeds, out, options, overwrite=overwrite, as_json=json_, **common)
        return
    _refuse(
        {**options, "losses": losses, "seeds": seeds, "overwrite": overwrite or None},
        "goes with --refit", hint="Add --refit, or leave it out.",
    )  # fmt: skip

    from smoothiou.lab.probe import probe_runs

    comparison = probe_runs(runs, baseline=baseline, split=split, fresh=fresh, **common)
    _show(comparison, out, as_json=json_, quiet=quiet)


def _refuse(options: Mapping[str, Any], why: str, *, hint: str) -> None:
    for name in given(options):
        raise ConfigError(f"--{name.replace('_', '-')} {why}.", hint=hint)


def _refit(
    runs: Sequence[Path], losses: str | None, seeds: str | None, out: Path | None, options: Mapping[str, Any], *,
    as_json: bool, quiet: bool, **common: Any,
) -> None:  # fmt: skip
    """Train box regressors on the crops of one run with each loss, print the comparison, and fail where one failed."""
    if len(runs) != 1:
        raise ConfigError(f"--refit: expected one run, got {len(runs)}.", hint="Name the run whose trunk is used.")

    from smoothiou.api.settings import check_names
    from smoothiou.cli.compare import parse_seeds
    from smoothiou.loss_spec import split_losses

    names, numbers = split_losses(losses or "huber,smooth-iou"), parse_seeds(seeds or "0,1,2")
    check_names(names)

    from smoothiou.lab.refit import refit
    from smoothiou.lab.regressor import Refit

    out = out or runs[0] / "refit"
    comparison = refit(
        runs[0], losses=names, seeds=numbers, out=out, settings=Refit(**options), quiet=quiet, **common
    )  # fmt: skip
    _show(comparison, out, as_json=as_json, quiet=quiet)
    if failed := comparison["failed"]:
        listed = ", ".join(f"{cell['loss']} seed {cell['seed']}" for cell in failed[:4])
        raise IncompleteStudyError(
            f"{out}: {counted(len(failed), 'training has', 'trainings have')} no result: "
            f"{listed}{' ...' if len(failed) > 4 else ''}; the page shows the others.",
            hint=failed[0]["error"],
        )


def _show(comparison: dict[str, Any], out: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Write probe.json, probe.csv, probe.tex and probe.html where a folder was named, and print the table."""
    from smoothiou.report.probe_page import probe_lines, write_probe

    page = write_probe(comparison, out) if out else None
    if as_json:
        print(json.dumps(comparison))
        return
    if not page or not quiet:
        print(probe_lines(comparison), file=sys.stderr if page else sys.stdout)
    if page:
        print(page)
