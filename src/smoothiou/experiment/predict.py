"""Boxes and pictures for images that have no truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from smoothiou.data.images import read_image
from smoothiou.detectors import detect
from smoothiou.errors import DataError
from smoothiou.experiment.measure import open_run
from smoothiou.runs import unwritable

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
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
) -> dict[str, Any]:
    """Find objects in images with the weights of a run, and draw them.

    Args:
        folder: the run.
        images: files, or folders that stand for every image in them.
        out: folder for one picture per image.
        score: least score of a box.
        checkpoint: "last" or "best".
        device: instead of the run's own.

    Returns:
        {"images": [{"image", "picture", "boxes": [{"xyxy", "label", "score"}]}]}

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: an image is missing or unreadable.
    """
    opened = open_run(Path(folder), checkpoint=checkpoint, device=device)
    found = []
    paths = _files(images)
    for number, path in enumerate(paths, 1):
        picture = read_image(path)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(opened.place.device).float().div_(255)
        with torch.inference_mode():
            output = detect(opened.model, [pixels])[0]
        boxes = [
            {"xyxy": [round(v, 2) for v in box], "label": opened.classes[label - 1], "score": round(value, 4)}
            for box, label, value in zip(
                output["boxes"].tolist(), output["labels"].tolist(), output["scores"].tolist(), strict=True
            )
            if value >= score
        ]
        # Two images of one name from two folders must not overwrite each other.
        target = Path(out) / (f"{path.stem}.png" if len(paths) == 1 else f"{number:04d}-{path.stem}.png")
        _draw(picture, boxes, opened.classes, target)
        found.append({"image": str(path), "picture": str(target), "boxes": boxes})
    return {"images": found}


def _files(images: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for given in map(Path, images):
        if given.is_dir():
            inside = sorted(p for p in given.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{given}: no image in this folder.", hint=f"Known: {', '.join(sorted(SUFFIXES))}.")
            files += inside
        elif given.is_file():
            files.append(given)
        else:
            raise DataError(f"{given}: no such file or folder.")
    return files


def _draw(picture: Image.Image, boxes: list[dict[str, Any]], classes: tuple[str, ...], path: Path) -> None:
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        colour = COLOURS[classes.index(box["label"]) % len(COLOURS)]
        left, top = box["xyxy"][:2]
        draw.rectangle(box["xyxy"], outline=colour, width=2)
        text = f"{box['label']} {box['score']:.2f}"
        draw.rectangle(draw.textbbox((left + 2, top + 1), text), fill=colour)
        draw.text((left + 2, top + 1), text, fill="black")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise unwritable(path, error) from error
