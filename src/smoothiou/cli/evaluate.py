"""`smoothiou eval`: the metrics of a finished or running training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Device, Json, Quiet, split_commas


def evaluate(
    run: Path,
    *,
    data: Annotated[str | None, Parameter(help="Another data set than the one of the run.")] = None,
    split: Annotated[str | None, Parameter(help="Another split than the run's test split.")] = None,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    device: Device = None,
    out: Annotated[
        Path | None, Parameter(help="Write truth.json, predictions.json and result.json into this folder.")
    ] = None,
    nms: Annotated[
        str, Parameter(help="Other ways to select detections, beside the run's NMS: soft, diou, wbf, or several.")
    ] = "",
    html: Annotated[
        bool, Parameter(negative="", help="Write diagnostics.html (and .json) into --out, or RUN.")
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Measure a checkpoint: COCO's metrics and the mean IoU of its boxes.

    Examples:
        smoothiou eval RUN
        smoothiou eval RUN --html
        smoothiou eval RUN --checkpoint best --split val --json
        smoothiou eval RUN --nms soft,diou,wbf

    Args:
        run: folder of a run.
    """
    from smoothiou.engine.evaluate import measure_run

    evaluation = measure_run(
        run, data=data, split=split, checkpoint=checkpoint, device=device, out=out, selections=split_commas(nms),
        quiet=quiet,
    )  # fmt: skip
    result = evaluation.result
    page = (out or run) / "diagnostics.html" if html else None
    if page:
        from smoothiou.engine.diagnose import diagnose_run
        from smoothiou.report.diagnostics_page import write_diagnostics

        write_diagnostics(diagnose_run(evaluation, folder=run), result, page)
        result = {**result, "page": str(page)}
    if json_:
        print(json.dumps(result))
        return
    from smoothiou.report.summary_lines import result_lines, selection_lines

    text = "\n".join([result_lines(result), *selection_lines(result.get("selection", {}))])
    print(text, file=sys.stderr if out or page else sys.stdout)
    if out or page:
        print(page or out)
