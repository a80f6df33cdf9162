"""`smoothiou probe`: how well second stages put slightly wrong boxes right, and which loss teaches that best."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Device, Json, Overwrite, Quiet
from smoothiou.errors import ConfigError, IncompleteStudyError


def probe(
    *runs: Path,
    refit: Annotated[
        bool, Parameter(negative="", help="Train box regressors anew on the crops of one run, with each loss.")
    ] = False,
    losses: Annotated[str | None, Parameter(help="With --refit: box losses, the baseline first.")] = None,
    seeds: Annotated[str | None, Parameter(help="With --refit: seeds, as 0,1,2 or 0-4 (default 0,1,2).")] = None,
    out: Annotated[
        Path | None, Parameter(help="Folder for probe.json and probe.html; with --refit, default RUN/refit.")
    ] = None,
    baseline: Annotated[str | None, Parameter(help="What others are compared with, if not the first.")] = None,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    split: Annotated[str | None, Parameter(help="Another split than the runs' test split.")] = None,
    fresh: Annotated[
        bool, Parameter(negative="", help="Measure anew also where a run holds what it measured when it ended.")
    ] = False,
    depth: Annotated[
        Literal["head", "last"] | None,
        Parameter(help="With --refit: train the whole box head from random weights, or its last layer alone."),
    ] = None,
    steps: Annotated[int | None, Parameter(help="With --refit: steps of each training.")] = None,
    batch: Annotated[int | None, Parameter(help="With --refit: boxes a step.")] = None,
    rate: Annotated[float | None, Parameter(help="With --refit: peak of the learning rate.")] = None,
    boxes: Annotated[int | None, Parameter(help="With --refit: crops to learn from.")] = None,
    test_boxes: Annotated[int | None, Parameter(help="With --refit: crops to test on, where there are more.")] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Compare how tightly second stages refine the same jittered truth boxes, box by box.

    Examples:
        smoothiou probe RUN-A RUN-B
        smoothiou probe STUDY --out PROBE
        smoothiou probe --refit RUN --losses huber,smooth-iou,giou --seeds 0,1,2

    Args:
        runs: folders of runs or studies, the baseline first; with --refit, one run.
    """
    given = {
        "depth": depth, "steps": steps, "batch": batch, "rate": rate, "boxes": boxes,
        "test_boxes": test_boxes,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if not refit:
        only = [*given, *(name for name, value in (("losses", losses), ("seeds", seeds)) if value is not None)]
        if only or overwrite:
            option = (only[0] if only else "overwrite").replace("_", "-")
            raise ConfigError(f"--{option} goes with --refit.", hint="Add --refit, or leave it out.")
        _compare(runs, out, baseline, checkpoint, split, device, fresh=fresh, quiet=quiet, as_json=json_)
        return
    for option, value in (("split", split), ("fresh", fresh), ("baseline", baseline)):
        if value:
            raise ConfigError(f"--{option} does not go with --refit.", hint="Leave it out; name the baseline first.")
    if len(runs) != 1:
        raise ConfigError(f"--refit: expected one run, got {len(runs)}.", hint="Name the run whose trunk is used.")
    _refit(runs[0], losses, seeds, out, given, checkpoint, device, overwrite=overwrite, quiet=quiet, as_json=json_)


def _compare(
    runs: tuple[Path, ...],
    out: Path | None,
    baseline: str | None,
    checkpoint: str,
    split: str | None,
    device: str | None,
    *,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from smoothiou.lab.probe import probe_runs

    found = probe_runs(
        runs, baseline=baseline, checkpoint=checkpoint, split=split, device=device, fresh=fresh, quiet=quiet
    )
    _show(found, out, as_json=as_json, quiet=quiet)


def _refit(
    run: Path,
    losses: str | None,
    seeds: str | None,
    out: Path | None,
    given: Mapping[str, Any],
    checkpoint: str,
    device: str | None,
    *,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from smoothiou.cli.compare import check_names, parse_seeds
    from smoothiou.loss_spec import split_losses

    chosen, numbers = split_losses(losses or "huber,smooth-iou"), parse_seeds(seeds or "0,1,2")
    check_names(chosen)
    from smoothiou.lab.refit import refit as refit_run
    from smoothiou.lab.regressor import Refit

    folder = out or run / "refit"
    found = refit_run(
        run, losses=chosen, seeds=numbers, out=folder, settings=Refit(**given), checkpoint=checkpoint, device=device,
        overwrite=overwrite, quiet=quiet,
    )  # fmt: skip
    _show(found, folder, as_json=as_json, quiet=quiet)
    if found["failed"]:
        lost = [f"{cell['loss']} seed {cell['seed']}" for cell in found["failed"]]
        raise IncompleteStudyError(
            f"{folder}: {len(lost)} {'training has' if len(lost) == 1 else 'trainings have'} no result: "
            f"{', '.join(lost[:4])}{' ...' if len(lost) > 4 else ''}; the page shows the others.",
            hint=found["failed"][0]["error"],
        )


def _show(found: dict[str, Any], out: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Write probe.json and probe.html where a folder was named, and print the table."""
    from smoothiou.report.probe_page import probe_lines, write_probe

    page = write_probe(found, out) if out else None
    if as_json:
        print(json.dumps(found))
        return
    if not page or not quiet:
        print(probe_lines(found), file=sys.stderr if page else sys.stdout)
    if page:
        print(page)
