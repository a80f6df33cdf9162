"""A finished study that nobody trained: the files of the contract, deterministic, with plausible numbers."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from smoothiou.engine.config import RunConfig
from smoothiou.files import finite
from smoothiou.study.plan import cell_ids
from smoothiou.study.probes import compare_probes

COLUMNS = (
    *(
        "step",
        "epoch",
        "seconds",
        "lr",
        "loss",
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_classifier",
        "loss_box_reg",
    ),
    *(
        "grad_norm",
        "rpn_lambda",
        "rpn_mean_iou",
        "rpn_positives",
        "roi_lambda",
        "roi_mean_iou",
        "roi_positives",
    ),
    *("val_AP", "val_AP50", "val_mean_iou"),
)
THRESHOLDS = tuple(f"{0.5 + 0.05 * index:.2f}" for index in range(10))
EDGES = [round(0.05 * index, 2) for index in range(21)]
SIGNATURE = (
    "AP|coco|iou:.50-.95|area:all|maxdet:100|engine:hotcoco-1.3.0|data:bccd/test#3c1f9a2b|imgs:72|"
    "seed:{seed}|smoothiou:0.1.0"
)
CLASSES = ("RBC", "WBC", "<b>Platelets & co</b>")
VERSIONS = {
    "python": "3.12.1",
    "smoothiou": "0.1.0",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "hotcoco": "1.3.0",
}


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
    _write(
        folder / "plan.json",
        {
            "schema_version": 1,
            "smoothiou": "0.1.0",
            "created": "2026-11-22T12:00:00+0000",
            "command": [
                "smoothiou",
                "compare",
                "data/bccd",
                "--losses",
                ",".join(losses),
                "--out",
                "my study",
            ],
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
        _write_cell(
            folder / "cells" / cell["id"],
            cell,
            list(losses),
            classes,
            effect,
            validation,
            cell["id"] in set(failed),
        )
    _write(folder / "truth.json", {"images": [], "annotations": [], "categories": []})
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


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


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


def _write_cell(
    folder: Path,
    cell: dict[str, Any],
    losses: list[str],
    classes: Sequence[str],
    effect: float,
    validation: bool,
    failed: bool,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seed, order = cell["seed"], losses.index(cell["loss"])
    rng = random.Random(1000 * seed + order)
    shared = random.Random(seed)  # what the losses of one seed have in common
    level = 0.004 * (shared.random() - 0.5) + effect * min(order, 1) + 0.002 * (rng.random() - 0.5)
    _write(
        folder / "manifest.json",
        {
            "schema_version": 1,
            "command": ["smoothiou", "compare", "data/bccd"],
            "started": "2026-11-22T12:00:00+0000",
            "source": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            "versions": VERSIONS,
            "platform": "Linux-6.1",
            "processor": "Example CPU <8 cores>",
            "cores": 2,
            "device": "cpu",
            "precision": "fp32",
            "device_reason": "no CUDA device",
        },
    )
    steps = cell["settings"]["train.steps"]
    _write_metrics(
        folder / "metrics.csv",
        rng,
        steps // 2 if failed else steps,
        steps,
        order,
        validation,
        cell["loss"].startswith("smooth-iou"),
    )
    if failed:
        (folder / "error.txt").write_text(
            "step 200: loss_box_reg is NaN <b>\n\nTraceback (most recent call last):\n  File x.py\n"
        )
        return
    falls = (0.81, 0.80, 0.78, 0.75, 0.71, 0.65, 0.55, 0.40, 0.19, 0.03)
    ap_by_iou = {
        threshold: fall + level * (1 + 4 * place / 9) + 0.006 * rng.random()
        for place, (threshold, fall) in enumerate(zip(THRESHOLDS, falls, strict=True))
    }
    ap = sum(ap_by_iou.values()) / 10
    localization = {
        "mean_iou": 0.2831 + 1.3 * level,
        "mean_iou_proposals": 0.2210 + 0.2 * level,
        "mean_iou_gain_below_50": 0.0421 + 0.7 * level,
        "mean_iou_gain_from_50": 0.0200 + 0.4 * level,
        "mean_iou_positive": 0.6912 + level,
        "mean_iou_matched": 0.8120 + level,
        "refined_mean_iou": 0.8360 + 0.6 * level,
        "refined_above_75": 0.8590 + level,
        "refined_above_85": 0.5120 + 2 * level,
        "refined_above_90": 0.2150 + 2 * level,
        "raw_boxes": 21600,
        "histogram": {
            "edges": EDGES,
            "matched": [_bump(edge, 0.84 + level, 0.09, 900) if edge >= 0.5 else 0 for edge in EDGES[:-1]],
            "raw": [_bump(edge, 0.1, 0.22, 6000) + _bump(edge, 0.75, 0.12, 1500) for edge in EDGES[:-1]],
            "refined": [_bump(edge, 0.86 + level, 0.07, 1800) for edge in EDGES[:-1]],
        },
    }
    _write(
        folder / "result.json",
        {
            "schema_version": 1,
            "loss": cell["loss"],
            "seed": seed,
            "metrics": {
                "AP": ap,
                "AP50": ap_by_iou["0.50"],
                "AP75": ap_by_iou["0.75"],
                "AP_small": None,
                "AP_medium": ap - 0.03,
                "AP_large": ap + 0.02,
                "AR1": 0.21 + level,
                "AR10": 0.52 + level,
                "AR100": 0.58 + level,
            },
            "ap_by_iou": ap_by_iou,
            "per_class": {
                name: None
                if index == 5
                else ap + 0.1 * math.sin(index) + (0.004 * math.cos(2 * index) + 0.01 * rng.random()) * (1 + order)
                for index, name in enumerate(classes)
            },
            "localization": localization,
            "cost": {
                "train_seconds": 150.0 + 20 * order + rng.random(),
                "seconds_per_step": (150.0 + 20 * order + rng.random()) / steps,
                "eval_seconds": 11.0 + rng.random(),
                "steps": steps,
                "peak_memory_mb": 1430.0 + order,
                "device": "cpu",
                "precision": "fp32",
            },
            "optim": {"lr": cell["settings"]["optim.lr"]},
            "signature": SIGNATURE.format(seed=seed),
            "data": {
                "test": {
                    "name": "bccd",
                    "split": "test",
                    "fingerprint": "3c1f9a2b",
                    "images": 72,
                    "boxes": 936,
                }
            },
            "versions": VERSIONS,
            "hash": cell["hash"],
            "finished": "2026-11-22T12:30:00+0000",
        },
    )
    images = [
        {
            "image_id": index + 1,
            "raw_mean": localization["mean_iou"] + 0.05 * (rng.random() - 0.5),
            "raw_count": 300,
            "truths": 3,
            "best": [0.8 + 0.1 * rng.random() for _ in range(3)],
            "before": [0.525 + 0.05 * step for step in range(10)],
            "refined": [0.75 + 0.02 * step + level + 0.05 * (rng.random() - 0.5) for step in range(10)],
        }
        for index in range(12)
    ]
    _write(folder / "localization.json", {"images": images})
    _write(folder / "predictions.json", [])
    (folder / "last.ckpt").write_text("")
    (folder / "done").write_text("")


def _probe(folder: Path, losses: Sequence[str]) -> dict[str, Any]:
    """Return what `experiment.compare` writes of the refined boxes of all finished cells."""
    groups: dict[str, dict[int, Any]] = {}
    for loss, name in cell_ids(losses).items():
        for path in sorted(folder.glob(f"cells/{name}-seed*/localization.json")):
            seed = int(path.parent.name.rpartition("seed")[2])
            groups.setdefault(loss, {})[seed] = json.loads(path.read_text())["images"]
    return finite(compare_probes(groups, baseline=losses[0], resamples=50)) if losses[0] in groups else {}


def _bump(edge: float, centre: float, width: float, height: int) -> int:
    return int(height * math.exp(-(((edge + 0.025 - centre) / width) ** 2)))


def _write_metrics(
    path: Path, rng: random.Random, until: int, steps: int, order: int, validation: bool, with_lambda: bool
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for step in range(5, until + 1, 5):
            share = step / steps
            fall = math.exp(-4 * share)
            terms = {
                "loss_objectness": 0.05 + 0.6 * fall + 0.02 * rng.random(),
                "loss_rpn_box_reg": (0.05 + 0.2 * fall) * (1 - 0.4 * order % 1) + 0.01 * rng.random(),
                "loss_classifier": 0.18 + 0.8 * fall + 0.05 * rng.random(),
                "loss_box_reg": (0.12 + 0.1 * fall) * (0.7 if order else 1) + 0.02 * rng.random(),
            }
            row: dict[str, Any] = {
                "step": step,
                "epoch": f"{step / 52:.3f}",
                "seconds": f"{0.38 * step:.2f}",
                "lr": 0.001 * min(share / 0.1, 0.5 * (1 + math.cos(math.pi * max(0.0, share - 0.1) / 0.9))),
                "loss": sum(terms.values()),
                **terms,
                "grad_norm": 2 + 6 * fall + rng.random(),
                "rpn_mean_iou": 0.66 - 0.3 * fall + 0.02 * rng.random(),
                "roi_mean_iou": 0.78 - 0.35 * fall + 0.002 * order + 0.02 * rng.random(),
                "rpn_positives": 40,
                "roi_positives": 120,
            }
            if with_lambda:
                row |= {"rpn_lambda": row["rpn_mean_iou"], "roi_lambda": row["roi_mean_iou"]}
            if validation and step % (steps // 8) == 0:
                row |= {
                    "val_AP": 0.48 - 0.45 * fall + 0.02 * rng.random(),
                    "val_AP50": 0.78 - 0.6 * fall,
                    "val_mean_iou": 0.8 - 0.4 * fall,
                }
            writer.writerow(row)


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
    _write(folder / "comparison.json", content)


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
