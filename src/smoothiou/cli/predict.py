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


def predict(
    run: Path,
    images: list[Path],
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder for pictures with the boxes drawn; default RUN/predictions.")
    ] = None,
    score: Annotated[float, Parameter(help="Least score of a box.")] = 0.5,
    checkpoint: Annotated[Literal["last", "best"], Parameter(help="Which weights.")] = "last",
    device: Device = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find objects in images and draw them; a folder stands for every image in it.

    Examples:
        smoothiou predict RUN photo.jpg
        smoothiou predict RUN photos/ --score 0.3 --json

    Args:
        run: folder of a run.
        images: files or folders.
    """
    if not 0 <= score <= 1:
        raise ConfigError(f"--score: expected 0 to 1, got {score}.")
    if not images:
        raise ConfigError("predict: IMAGES is missing.", hint="Name at least one image or folder after RUN.")
    from smoothiou.engine.predict import predict_images

    with Progress("images", quiet=quiet, transient=True) as bar:
        detections = predict_images(
            run, images, out=out or run / "predictions", score=score, checkpoint=checkpoint, device=device,
            progress=bar.update,
        )  # fmt: skip
    if json_:
        print(json.dumps(detections))
        return
    for picture in detections["images"]:
        boxes = (
            ", ".join(f"{box['label']} {box['score']:.2f}" for box in picture["boxes"])
            or f"nothing of score {score} or more (see --score)"
        )
        print(visible(f"{picture['image']}: {boxes}"), file=sys.stderr)
    print(out or run / "predictions")
