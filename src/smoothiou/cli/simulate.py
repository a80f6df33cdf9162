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
        str | None,
        Parameter(help="Box losses, `all` for the shelf; default iou,giou,diou,ciou,smooth-iou,huber."),
    ] = None,
    gradients: Annotated[
        Literal["exact", "published", "both"],
        Parameter(help="The losses' own, what the DIoU paper's code has in their place, or both."),
    ] = "both",
    cases: Annotated[
        str, Parameter(help="`full` (1,715,000; 20,000 on real boxes) or a number; sums are scaled.")
    ] = "full",
    seed: Annotated[int, Parameter(help="Of where anchors stand.")] = 0,
    boxes: Annotated[
        Path | None,
        Parameter(help="Also simulate on real boxes: a COCO or Udacity label file (may be .gz) or a data folder."),
    ] = None,
    match_gradient: Annotated[
        bool, Parameter(help="On real boxes, scale each loss to Huber's first gradient, not by its usual weight.")
    ] = True,
    out: Annotated[Path, Parameter(help="Folder for results and the page.")] = Path("runs/simulate"),
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Let boxes run down each loss by plain gradient descent: the DIoU paper's experiment, and a fairer one.

    What was computed before is not computed again: the same command draws its page from the results that lie there.

    Examples:
        smoothiou simulate
        smoothiou simulate --losses all --gradients exact --cases 50000
        smoothiou simulate --losses giou,smooth-iou,huber --boxes instances_train.json
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"--seed: expected 0 to 2**32 - 1, got {seed}.")
    chosen = None if losses is None else split_losses(losses)

    from smoothiou.lab.page_data import simulate as run
    from smoothiou.report.simulation import write_simulation
    from smoothiou.report.simulation_tables import boxes_table, of_kind, regression_table, sentence, text_table

    kept = run(
        chosen, gradients=gradients, cases=cases, seed=seed, boxes=boxes, match_gradient=match_gradient, out=out,
        quiet=quiet,
    )  # fmt: skip
    results = [one.result for one in kept]
    page, table = write_simulation([one.folder for one in kept], out, command=["smoothiou", *sys.argv[1:]])
    if not quiet:
        for kind, draw in (("regression", regression_table), ("boxes", boxes_table)):
            if of_kind(results, kind):
                drawn = draw(results)
                print("\n".join(["", text_table(drawn), *drawn.notes]), file=sys.stderr)
        print(f"\n{sentence(results)}\n", file=sys.stderr)
    if json_:
        shown = [{"folder": str(one.folder), "computed": one.fresh, **one.result} for one in kept]
        print(json.dumps({"page": str(page), "table": str(table), "results": shown}))
    else:
        print(page)
