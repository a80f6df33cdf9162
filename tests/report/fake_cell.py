"""A finished cell that nobody trained: the files of the contract, deterministic, with plausible numbers."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "step", "epoch", "seconds", "lr", "loss", "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg",
    "grad_norm", "rpn_lambda", "rpn_mean_iou", "rpn_positives", "roi_lambda", "roi_mean_iou", "roi_positives",
    "val_AP", "val_AP50", "val_mean_iou",
)  # fmt: skip
THRESHOLDS = tuple(f"{0.5 + 0.05 * index:.2f}" for index in range(10))
EDGES = [round(0.05 * index, 2) for index in range(21)]
SIGNATURE = (
    "AP|coco|iou:.50-.95|area:all|maxdet:100|engine:hotcoco-1.3.0|data:bccd/test#3c1f9a2b|imgs:72|"
    "seed:{seed}|smoothiou:0.1.0"
)
VERSIONS = {"python": "3.12.1", "smoothiou": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.2", "hotcoco": "1.3.0"}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def write_cell(
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
    write_json(
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
    write_json(
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
            "data": {"test": {"name": "bccd", "split": "test", "fingerprint": "3c1f9a2b", "images": 72, "boxes": 936}},
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
    write_json(folder / "localization.json", {"images": images})
    write_json(folder / "predictions.json", [])
    (folder / "last.ckpt").write_text("")
    (folder / "done").write_text("")


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
