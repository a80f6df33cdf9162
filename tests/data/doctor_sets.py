"""Tiny data sets for the doctor: a sound one of every format, to which a test adds one fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smoothiou.data.doctor import Report, examine
from smoothiou.engine.config import RunConfig
from smoothiou.report.doctor import training_of
from tests.data.conftest import coco_content, write_xml

SIZE = (100, 80)
TRAINING = training_of(RunConfig().replace({"model.min_size": 80, "model.max_size": 100, "train.batch_size": 16}))
"""Images are trained as they are, and batches are large enough for lambda."""


def noise(path: Path, *, seed: int, size: tuple[int, int] = SIZE, kind: str | None = None, **options: Any) -> Path:
    """Write an image that looks like no other seed's: a few blurred patches, as a photo has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)
    image.save(path, format=kind, **options)
    return path


def boxes_of(number: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return two boxes of 32 x 32 pixels, of two classes, each within 4 pixels of an anchor of that size."""
    x, y = 17 + number % 4, 17 + number % 3
    return [("cat", (x, y, x + 31, y + 31)), ("dog", (x + 30, y + 14, x + 61, y + 45))]


def voc(root: Path, *, counts: Sequence[tuple[str, int]] = (("train", 6), ("val", 3))) -> Path:
    """Write a sound data set in PASCAL's format: images 000, 001, ... in the order of the splits."""
    number = 0
    for split, count in counts:
        names = [f"{number + step:03d}" for step in range(count)]
        number += count
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            add(root, name, boxes_of(int(name)))
    return root


def add(root: Path, name: str, objects: Sequence[tuple[str, Sequence[Any]]], **options: Any) -> None:
    """Write one image and its XML."""
    noise(root / "JPEGImages" / f"{name}.jpg", seed=int(name), quality=92)
    annotate(root, name, objects, **options)


def annotate(root: Path, name: str, objects: Sequence[tuple[str, Sequence[Any]]], **options: Any) -> None:
    """Write the XML of one image anew."""
    write_xml(root / "Annotations" / f"{name}.xml", objects, file_name=f"{name}.jpg", size=options.get("size", SIZE))


def coco(root: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Write a sound data set in COCO's format, of which a test may change the training file's content."""
    for split, numbers in (("train", range(6)), ("val", range(6, 9))):
        images = {
            f"{number:03d}.jpg": [(label, (x1 - 1, y1 - 1, 32, 32)) for label, (x1, y1, _, _) in boxes_of(number)]
            for number in numbers
        }
        content = coco_content(images, ["cat", "dog"])
        for name in images:
            noise(root / "images" / split / name, seed=int(name[:3]), quality=92)
        if change and split == "train":
            change(content)
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def look(root: Path, **options) -> Report:
    return examine(root, **{"training": TRAINING, **options})


def ids(report: Report) -> list[str]:
    return [finding.check.id for finding in report.findings]


def first(report: Report, check: str) -> tuple[int, str, str]:
    """Return count, place and message of a check's first example."""
    finding = report.finding(check)
    assert finding, f"{check} found nothing; found were {ids(report)}"
    return finding.count, finding.examples[0].where, finding.examples[0].message
