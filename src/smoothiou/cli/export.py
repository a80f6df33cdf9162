"""`smoothiou export`: a trained detector for other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Json, Quiet
from smoothiou.report.study_runs import run_of


def export(
    run: Path,
    *,
    to: Annotated[Literal["onnx", "torchscript"], Parameter(help="Form of the file.")] = "onnx",
    out: Annotated[Path | None, Parameter(help="The file; default RUN/model.onnx or RUN/model.pt.")] = None,
    data: Annotated[str | None, Parameter(help="Compare on this data set instead of the run's.")] = None,
    images: Annotated[int, Parameter(help="Test images on which both are compared; 0: no comparison.")] = 16,
    pixels: Annotated[float, Parameter(help="Largest difference of a corner, in pixels.")] = 0.5,
    score: Annotated[float, Parameter(help="Largest difference of a score.")] = 0.01,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write the detector as ONNX or TorchScript, run it there, and print whether it finds the same boxes.

    Ends with exit code 1 where a box differs by more than the limits.

    Examples:
        smoothiou export RUN
        smoothiou export RUN --to torchscript --out detector.pt

    Args:
        run: folder of a run, or of a study (then the best run of its best loss).
    """
    chosen, why = run_of(run)
    if why and not quiet:
        print(why, file=sys.stderr)
    from smoothiou.engine.export import export_and_compare
    from smoothiou.engine.predictor import Run

    result = export_and_compare(
        Run(chosen, checkpoint=checkpoint),
        out or run / ("model.onnx" if to == "onnx" else "model.pt"),
        to=to, data=data, images=images, pixels=pixels, score=score,
        say=lambda line: None if quiet or json_ else print(line, file=sys.stderr),
    )  # fmt: skip
    print(json.dumps(result) if json_ else result["file"])
