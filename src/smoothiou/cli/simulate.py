"""`smoothiou simulate`: boxes run down losses, without a detector."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Json, Quiet
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import split_losses


def simulate(
    *,
    losses: Annotated[
        str | None, Parameter(help="Box losses, `all` for every one; default iou,giou,diou,ciou,smooth-iou,huber.")
    ] = None,
    gradients: Annotated[
        Literal["exact", "published", "both"],
        Parameter(help="The losses' own, what the DIoU paper's code has in their place, or both."),
    ] = "both",
    cases: Annotated[
        int, Parameter(help="Pairs of boxes in each simulation (the paper: 1715000); sums are scaled to the paper's.")
    ] = 13720,
    seed: Annotated[int, Parameter(help="Of where anchors stand.")] = 0,
    boxes: Annotated[
        Path | None,
        Parameter(help="Also simulate on real boxes: a COCO or Udacity label file (may be .gz) or a data folder."),
    ] = None,
    match_gradient: Annotated[
        bool, Parameter(help="On real boxes, scale each loss to Huber's first gradient, not by its usual weight.")
    ] = True,
    out: Annotated[Path, Parameter(help="Folder for the page and the table.")] = Path("runs/simulate"),
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Let boxes run down each loss by plain gradient descent: the DIoU paper's experiment, and a fairer one.

    Examples:
        smoothiou simulate
        smoothiou simulate --losses all --gradients exact
        smoothiou simulate --losses giou,smooth-iou,huber --boxes instances_train.json
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"--seed: expected 0 to 2**32 - 1, got {seed}.")
    chosen = None if losses is None else split_losses(losses)

    from smoothiou.lab.simulation import simulate_all
    from smoothiou.report.simulation_page import boxes_table, of_kind, regression_table, sentence, write_simulation
    from smoothiou.report.text_table import text_table

    results = simulate_all(
        chosen, gradients=gradients, cases=cases, seed=seed, boxes=boxes, match_gradient=match_gradient, quiet=quiet
    )
    page, table = write_simulation(results, out, command=["smoothiou", *sys.argv[1:]])
    if not quiet:
        for kind, tabulate in (("regression", regression_table), ("boxes", boxes_table)):
            if of_kind(results, kind):
                content = tabulate(results)
                print("\n".join(["", text_table(content), *content.notes]), file=sys.stderr)
        print(f"\n{sentence(results)}\n", file=sys.stderr)
    if json_:
        print(json.dumps({"page": str(page), "table": str(table), "results": results}))
    else:
        print(page)
