"""Detections in images without annotations, and pictures of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from smoothiou.data.faults import is_too_long
from smoothiou.data.images import SUFFIXES, list_images, read_image
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.inference import run_detector
from smoothiou.engine.open_data import file_limits
from smoothiou.errors import DataError
from smoothiou.files import allowing, write_bytes

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def predict_images(
    folder: str | Path,
    images: Sequence[str | Path],
    *,
    out: str | Path,
    score: float = 0.5,
    checkpoint: str = "last",
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Find objects in images with the weights of a run, and draw them; one image is in memory at a time.

    A photo is turned as EXIF says, so that the detector sees it upright; boxes are in pixels of the turned picture.

    Args:
        folder: the run.
        images: files, or folders that stand for every image in them.
        out: folder for one picture per image.
        score: least score of a box.
        checkpoint: "last" or "best".
        device: in place of the run's.
        progress: called with how many of how many images are done, after each.

    Returns:
        {"images": [{"image", "picture", "boxes": [{"xyxy", "label", "score"}]}]}

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: an image is missing or unreadable.
    """
    opened = open_run(Path(folder), checkpoint=checkpoint, device=device)
    paths = _files(images)
    results = []
    for number, path in enumerate(paths, 1):
        with allowing(file_limits(opened.config.data)):
            picture = read_image(path, upright=True)
        if is_too_long(*picture.size, max_size=opened.config.model.max_size):
            raise DataError(
                f"{path}: {picture.width} x {picture.height} pixels are too long a picture.", hint="Crop it."
            )
        boxes = _boxes(opened, picture, score)
        # Two images of one name from two folders must not overwrite each other, and no picture the photograph itself.
        target = Path(out) / (f"{path.stem}-boxes.png" if len(paths) == 1 else f"{number:04d}-{path.stem}-boxes.png")
        write_bytes(target, _drawn(picture, boxes, opened.classes))
        results.append({"image": str(path), "picture": str(target), "boxes": boxes})
        if progress:
            progress(number, len(paths))
    return {"images": results}


def _boxes(opened: OpenedRun, picture: Image.Image, score: float) -> list[dict[str, Any]]:
    """Return the detections of one image, best first."""
    outputs = run_detector(
        opened.model,
        [torch.from_numpy(np.array(picture)).permute(2, 0, 1)],
        probes=[(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))],
        batch_size=1,
        placement=opened.placement,
    )
    output = next(outputs)
    rows = zip(output.boxes.tolist(), output.labels.tolist(), output.scores.tolist(), strict=True)
    return [
        {"xyxy": [round(v, 2) for v in box], "label": opened.classes[label - 1], "score": round(value, 4)}
        for box, label, value in rows
        if value >= score
    ]


def _files(images: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for given in map(Path, images):
        if given.is_dir():
            inside = list_images(given)
            if not inside:
                raise DataError(f"{given}: no image in this folder.", hint=f"Known: {', '.join(sorted(SUFFIXES))}.")
            files += inside
        elif given.is_file():
            files.append(given)
        else:
            raise DataError(f"{given}: no such file or folder.")
    return files


def _drawn(picture: Image.Image, boxes: list[dict[str, Any]], classes: tuple[str, ...]) -> bytes:
    """Return the picture with its boxes as PNG."""
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        colour = COLOURS[classes.index(box["label"]) % len(COLOURS)]
        left, top = box["xyxy"][:2]
        draw.rectangle(box["xyxy"], outline=colour, width=2)
        text = f"{box['label']} {box['score']:.2f}"
        draw.rectangle(draw.textbbox((left + 2, top + 1), text), fill=colour)
        draw.text((left + 2, top + 1), text, fill="black")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
