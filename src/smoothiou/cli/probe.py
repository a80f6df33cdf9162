"""`smoothiou probe`: how well second stages refine slightly wrong boxes, and which loss teaches that best."""

from __future__ import annotations

import json
import sys
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
    options = {
        "depth": depth, "steps": steps, "batch": batch, "rate": rate, "boxes": boxes, "test_boxes": test_boxes,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    _check_combination(
        refit,
        only_with={**options, "losses": losses, "seeds": seeds, "overwrite": overwrite or None},
        only_without={"split": split, "fresh": fresh or None, "baseline": baseline},
    )
    if not refit:
        from smoothiou.lab.probe import probe_runs

        comparison = probe_runs(
            runs,
            baseline=baseline,
            checkpoint=checkpoint,
            data=data,
            split=split,
            device=device,
            fresh=fresh,
            quiet=quiet,
        )
        _show(comparison, out, as_json=json_, quiet=quiet)
        return
    if len(runs) != 1:
        raise ConfigError(f"--refit: expected one run, got {len(runs)}.", hint="Name the run whose trunk is used.")

    from smoothiou.api.settings import check_names
    from smoothiou.cli.compare import parse_seeds
    from smoothiou.loss_spec import split_losses

    names, numbers = split_losses(losses or "huber,smooth-iou"), parse_seeds(seeds or "0,1,2")
    check_names(names)

    from smoothiou.lab.refit import refit as refit_run
    from smoothiou.lab.regressor import Refit

    folder = out or runs[0] / "refit"
    comparison = refit_run(
        runs[0], losses=names, seeds=numbers, out=folder, settings=Refit(**options), checkpoint=checkpoint,
        data=data, device=device, overwrite=overwrite, quiet=quiet,
    )  # fmt: skip
    _show(comparison, folder, as_json=json_, quiet=quiet)
    if failed := comparison["failed"]:
        listed = ", ".join(f"{cell['loss']} seed {cell['seed']}" for cell in failed[:4])
        raise IncompleteStudyError(
            f"{folder}: {len(failed)} {'training has' if len(failed) == 1 else 'trainings have'} no result: "
            f"{listed}{' ...' if len(failed) > 4 else ''}; the page shows the others.",
            hint=failed[0]["error"],
        )


def _check_combination(refit: bool, *, only_with: dict[str, Any], only_without: dict[str, Any]) -> None:
    """Refuse options that do not go with --refit, or only with it."""
    for name, value in (only_without if refit else only_with).items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            if refit:
                raise ConfigError(f"{option} does not go with --refit.", hint="Leave it out; name the baseline first.")
            raise ConfigError(f"{option} goes with --refit.", hint="Add --refit, or leave it out.")


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
