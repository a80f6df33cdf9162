"""A finished study that nobody trained: the files of the contract, deterministic, with plausible numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from smoothiou.engine.config import RunConfig
from smoothiou.files import finite
from smoothiou.study.plan import cell_ids
from smoothiou.study.probes import compare_probes
from tests.report.fake_cell import write_cell, write_json

CLASSES = ("RBC", "WBC", "<b>Platelets & co</b>")


def make_study(
    folder: Path,
    *,
    losses: Sequence[str] = ("huber", "smooth-iou"),
    seeds: Sequence[int] = (0, 1, 2),
    classes: Sequence[str] = CLASSES,
    failed: Iterable[str] = (),
    missing: Iterable[str] = (),
    steps: int = 400,
    effect: float = 0.004,
    validation: bool = True,
    comparison: bool = True,
    gallery: int = 2,
    rates: dict[str, float] | None = None,
) -> Path:
    """Write a study folder and return it.

    Args:
        folder: where.
        losses: the first is the baseline.
        seeds: paired seeds.
        classes: class names.
        failed: ids of cells that end with error.txt instead of result.json.
        missing: ids of cells that were never started.
        steps: training steps.
        effect: what each loss after the first adds to every IoU metric.
        validation: whether metrics.csv has values in its val columns.
        comparison: whether comparison.json is there.
        gallery: images in it.
        rates: learning rate per loss, where it is not the default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = RunConfig().replace({"data.path": "bccd", "train.steps": steps, "train.log_every": 5})
    names = cell_ids(losses)
    cells = []
    for loss in losses:
        for seed in seeds:
            config = base.replace({"train.seed": seed, "optim.lr": (rates or {}).get(loss, 0.001)}).flat()
            config["loss.name"] = loss
            cells.append(
                {
                    "id": f"{names[loss]}-seed{seed}",
                    "loss": loss,
                    "seed": seed,
                    "hash": f"{len(cells):012x}",
                    "settings": config,
                }
            )
    settings = {key: value for key, value in base.flat().items() if key not in ("loss.name", "train.seed")}
    write_json(
        folder / "plan.json",
        {
            "schema_version": 1,
            "smoothiou": "0.1.0",
            "created": "2026-11-22T12:00:00+0000",
            "command": ["smoothiou", "compare", "data/bccd", "--losses", ",".join(losses), "--out", "my study"],
            "losses": list(losses),
            "baseline": losses[0],
            "seeds": list(seeds),
            "settings": settings,
            "data": {
                "train": _split("train", 205, classes),
                "val": _split("val", 87, classes),
                "test": _split("test", 72, classes),
            },
            "classes": list(classes),
            "cells": cells,
        },
    )
    for cell in cells:
        if cell["id"] in set(missing):
            continue
        write_cell(
            folder / "cells" / cell["id"], cell, list(losses), classes, effect, validation, cell["id"] in set(failed)
        )
    write_json(folder / "truth.json", {"images": [], "annotations": [], "categories": []})
    if comparison:
        lost = {*failed, *missing}
        pairs = [
            (loss, s)
            for loss in losses[1:]
            for s in seeds
            if not lost & {f"{names[losses[0]]}-seed{s}", f"{names[loss]}-seed{s}"}
        ]
        _write_comparison(folder, losses, pairs, classes, effect, gallery)
    return folder


def _split(split: str, images: int, classes: Sequence[str]) -> dict[str, Any]:
    train = split == "train"
    return {
        "name": "bccd",
        "format": "voc",
        "split": split,
        "fingerprint": {"train": "5d0aa1c2", "val": "77e0b1f4"}.get(split, "3c1f9a2b"),
        "counts": {
            "images": images,
            "images_without_boxes": 0,
            "boxes": images * 13,
            "difficult": 0,
            "crowd": 0,
            "dropped": int(train),
            "faults": {"no-area": 1, "overhang": 12} if train else {},
            "per_class": {name: images * (9 if index == 0 else 2) for index, name in enumerate(classes)},
        },
        "notes": ["the set ships its own splits"] if train else [],
        "faults": [
            {
                "kind": "no-area",
                "where": "a&b.xml: object 2",
                "message": "box has no area (x1 = x2 = 221)",
                "drops": True,
            }
        ]
        if train
        else [],
    }


def _probe(folder: Path, losses: Sequence[str]) -> dict[str, Any]:
    """Return what `experiment.compare` writes of the refined boxes of all finished cells."""
    groups: dict[str, dict[int, Any]] = {}
    for loss, name in cell_ids(losses).items():
        for path in sorted(folder.glob(f"cells/{name}-seed*/localization.json")):
            seed = int(path.parent.name.rpartition("seed")[2])
            groups.setdefault(loss, {})[seed] = json.loads(path.read_text())["images"]
    return finite(compare_probes(groups, baseline=losses[0], resamples=50)) if losses[0] in groups else {}


def _write_comparison(
    folder: Path,
    losses: Sequence[str],
    pairs: list[tuple[str, int]],
    classes: Sequence[str],
    effect: float,
    gallery: int,
) -> None:
    rng = random.Random(7)
    bootstrap = []
    for candidate, seed in pairs:
        for metric in ("AP", "AP50", "AP75", "mean_iou", "refined_mean_iou"):
            difference = effect + 0.004 * (rng.random() - 0.5)
            half = 0.012 if metric.startswith("AP") else 0.003
            bootstrap.append(
                {
                    "candidate": candidate,
                    "seed": seed,
                    "metric": metric,
                    "difference": difference,
                    "low": difference - half,
                    "high": difference + half,
                    "resamples": 1000,
                }
            )
    pictures = []
    for index in range(gallery):
        name = f"gallery/{index + 1:04d}.jpg"
        truth = _draw_cells(folder / name, rng, classes)
        panels, means = {}, {}
        for order, loss in enumerate(losses):
            jitter = 9 - 5 * min(order, 1)
            panels[loss] = [
                [
                    *(round(value + jitter * (rng.random() - 0.5), 1) for value in box[:4]),
                    box[4],
                    round(0.5 + 0.5 * rng.random(), 3),
                ]
                for box in truth
            ]
            means[loss] = 0.72 + 0.1 * min(order, 1) + 0.01 * index
        pictures.append(
            {
                "image": name,
                "name": f"BloodImage_{index:05d} <i>",
                "width": 320,
                "height": 240,
                "seed": pairs[0][1] if pairs else 0,
                "truth": truth,
                "panels": panels,
                "mean_iou": means,
            }
        )
    gains = {
        "localization": 0.04,
        "classification": 0.01,
        "both": 0.0,
        "duplicate": 0.002,
        "background": 0.03,
        "missed": 0.02,
    }
    errors = [{"loss": loss, "seed": 0, "gains": gains} for loss in losses]
    content = {
        "schema_version": 1,
        "bootstrap": bootstrap,
        "probe": _probe(folder, losses),
        "errors": errors,
        "curves": [
            {"loss": loss, "seed": seed, "recall": [0.0, 0.5, 1.0], "precision": [0.9, 0.8 - 0.01 * seed, 0.1]}
            for loss in losses
            for seed in (0, 1)
        ],
        "confusions": {loss: _confusion(len(classes)) for loss in losses},
        "gallery": pictures,
    }
    write_json(folder / "comparison.json", content)


def _confusion(classes: int) -> list[list[int]]:
    """Return counts with most on the diagonal, and nothing where nothing is and nothing was found."""
    size = classes + 1
    rows = [[40 if row == column else (3 * row + column) % 5 for column in range(size)] for row in range(size)]
    rows[-1][-1] = 0
    return rows


def _draw_cells(path: Path, rng: random.Random, classes: Sequence[str]) -> list[list[Any]]:
    """Draw round things on a pale ground and return their boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (320, 240), (226, 214, 208))
    pen = ImageDraw.Draw(image)
    truth = []
    for index in range(7):
        x, y, side = (
            12 + (index % 4) * 76 + 10 * rng.random(),
            16 + (index // 4) * 112 + 10 * rng.random(),
            44 + 20 * rng.random(),
        )
        colour = (96, 72, 150) if index == 3 else (214, 150, 148)
        pen.ellipse((x, y, x + side, y + side), fill=colour, outline=(170, 110, 112), width=2)
        truth.append(
            [
                round(x, 1),
                round(y, 1),
                round(x + side, 1),
                round(y + side, 1),
                classes[min(index == 3, len(classes) - 1)],
            ]
        )
    image.save(path, quality=85)
    return truth
