"""`smoothiou export`: a trained detector for other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Json, Quiet
from smoothiou.cli.study_runs import run_of
from smoothiou.errors import ConfigError, SmoothIoUError


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
    if images < 0:
        raise ConfigError(f"--images: expected 0 or more, got {images}.")
    chosen, why = run_of(run)
    if why and not quiet:
        print(why, file=sys.stderr)
    from smoothiou.engine import export as engine
    from smoothiou.engine.evaluate import open_images
    from smoothiou.engine.predictor import load_run

    if to == "onnx":
        engine.require("onnx")
        if images:
            engine.require("onnxruntime")
    predictor = load_run(chosen, checkpoint=checkpoint, device="cpu")
    pictures = engine.with_odd_images(open_images(predictor.opened.config, data=data, most=images)) if images else []
    path = out or run / ("model.onnx" if to == "onnx" else "model.pt")
    metadata = engine.export_run(predictor, path, to=to)
    result = {"file": str(path), "metadata": metadata}
    if pictures:
        exported, runtime = engine.open_exported(path)
        parity = engine.compare_exported(predictor, exported, pictures, pixels=pixels, score=score)
        result["parity"] = {"runtime": runtime, **engine.parity_numbers(parity)}
        line = parity.line(runtime)
        if not parity.holds:
            raise SmoothIoUError(
                f"{path}: {line}.",
                hint=f"Limits: {pixels} px and {score} in score (--pixels, --score).",
                details=result,
            )
        if not (quiet or json_):
            print(line, file=sys.stderr)
    print(json.dumps(result) if json_ else path)
