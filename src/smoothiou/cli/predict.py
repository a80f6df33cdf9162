"""`smoothiou predict`: boxes and pictures for new images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Device, Json, Quiet
from smoothiou.errors import ConfigError
from smoothiou.files import visible
from smoothiou.progress import Progress
from smoothiou.report.study_runs import run_of


def predict(
    run: Path,
    images: list[Path],
    *,
    out: Annotated[Path | None, Parameter(help="Folder for what is found; default RUN/predictions.")] = None,
    score: Annotated[
        str, Parameter(help="Least score of a box, or `best`: each class's best, measured beside the test.")
    ] = "0.5",
    format_: Annotated[list[str] | None, Parameter(name="--format", help="Label files, too: yolo or voc.")] = None,
    pictures: Annotated[bool, Parameter(help="Draw the boxes into pictures.")] = True,
    tile: Annotated[int, Parameter(help="Look at large photos in tiles of this side in pixels, too.")] = 0,
    overlap: Annotated[float, Parameter(help="Share of a tile that it has in common with its neighbour.")] = 0.2,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    device: Device = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find objects in images: predictions.json (COCO), predictions.csv, and pictures.

    Examples:
        smoothiou predict RUN photo.jpg
        smoothiou predict RUN photos/ 'more/*.png' --score best --format yolo
        find photos -name '*.jpg' | smoothiou predict STUDY -

    Args:
        run: folder of a run, or of a study (then the best run of its best loss).
        images: files, folders, globs, or - for a list of files on stdin.
    """
    threshold = _score(score)
    if not images:
        raise ConfigError("predict: IMAGES is missing.", hint="Name at least one image or folder after RUN.")
    chosen, why = run_of(run)
    if why and not quiet:
        print(why, file=sys.stderr)
    from smoothiou.engine.predict import predict_images, summary_line
    from smoothiou.engine.tiles import check_tiles

    if tile:
        check_tiles(tile, overlap)

    out = out or run / "predictions"
    with Progress("images", quiet=quiet, transient=True) as bar:
        detections = predict_images(
            chosen, _expanded(images), out=out, score=threshold, checkpoint=checkpoint, device=device,
            pictures=pictures, formats=format_ or (), tile=tile, overlap=overlap, progress=bar.update,
        )  # fmt: skip
    if json_:
        print(json.dumps(detections))
        return
    if not quiet:
        print(visible(summary_line(detections["images"], threshold, left_out=detections["left_out"])), file=sys.stderr)
    print(out)


def _score(text: str) -> float | Literal["best"]:
    if text == "best":
        return "best"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--score: expected 0 to 1 or best, got {text}.")
    return value


def _expanded(images: list[Path]) -> list[Path]:
    """Return the paths with `-` replaced by the lines of stdin."""
    paths: list[Path] = []
    for path in images:
        if str(path) == "-":
            lines = sys.stdin.read().removeprefix("\ufeff").splitlines() if sys.stdin else []  # none where it is closed
            paths += [Path(line) for line in lines if line.strip()]
        else:
            paths.append(path)
    if not paths:
        raise ConfigError("predict: the list on stdin is empty.", hint="One path a line.")
    return paths
