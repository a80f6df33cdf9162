"""What two finished cells say together: the uncertainty from the test images, and where they disagree most."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smoothiou.data.export import to_coco
from smoothiou.data.records import Box, Dataset, Record
from smoothiou.engine.config import RunConfig
from smoothiou.engine.open_data import open_splits
from smoothiou.files import digest, read_json, write_bytes, write_json
from smoothiou.manifest import SCHEMA_VERSION
from smoothiou.metrics import (
    box_iou,
    covariance_of_draws,
    draw_images,
    drawn_means,
    drawn_metrics,
    error_gains,
    image_sums,
    percentile_interval,
)
from smoothiou.metrics.diagnostics import confusion, mean_curve
from smoothiou.metrics.overlap import Array
from smoothiou.metrics.refinement import DEFINITION
from smoothiou.metrics.signature import METRICS, PARTS
from smoothiou.study.cells import cell_folder, cell_state
from smoothiou.study.probes import compare_probes, read_probes

DRAWS, DRAWS_LARGE, LARGE = 1000, 200, 1000
"""How often the test images are drawn, and how often where there are more than `LARGE`."""
PAIR_METRICS = ("AP", "AP50", "AP75", "mean_iou", "refined_mean_iou")
"""Metrics whose interval over images is shown for each pair of runs."""

COMPARISON = 4
"""Raised when what comparison.json holds changes, so that an older one is computed anew."""
PICTURES = 8
PICTURE_SIDE = 360
LEAST_SCORE = 0.3


def compare_cells(folder: str | Path, plan: Mapping[str, Any]) -> None:
    """Write truth.json, comparison.json and the gallery of a study from its finished cells.

    Nothing is computed twice: what an earlier call wrote for the same cells is kept.

    Args:
        folder: the study.
        plan: its plan.json.
    """
    folder = Path(folder)
    done = {
        (cell["loss"], cell["seed"]): cell_folder(folder, cell)
        for cell in plan["cells"]
        if cell_state(folder, cell) == "done"
    }
    if not done:
        return
    finished = sorted((*key, (path / "done").read_text()) for key, path in done.items())
    identity = digest([SCHEMA_VERSION, COMPARISON, DRAWS, DEFINITION, plan["baseline"], plan["losses"], finished])
    if (folder / "comparison.json").is_file() and read_json(folder / "comparison.json").get("identity") == identity:
        return
    test = open_splits(RunConfig().replace(plan["settings"]).data).test
    gt = to_coco(test)
    write_json(folder / "truth.json", gt)
    drawn = _draw(gt, done)
    gallery = []
    for seed in plan["seeds"]:  # of the first that can be compared
        cells = {loss: done[loss, seed] for loss in plan["losses"] if (loss, seed) in done}
        if len(cells) > 1 and plan["baseline"] in cells:
            gallery = _gallery(folder, test, cells, seed=seed)
            break
    errors, curves, confusions = [], [], {}
    for (loss, seed), cell in done.items():
        predictions, scores = read_json(cell / "predictions.json"), read_json(cell / "result.json").get("best_scores")
        errors.append({"loss": loss, "seed": seed, "gains": error_gains(gt, predictions)})
        curves.append({"loss": loss, "seed": seed, **mean_curve(gt, predictions)})
        matrix = np.array(confusion(gt, predictions, scores or {"per_class": {}}))
        confusions[loss] = matrix + confusions.get(loss, 0)
    content = {
        **_image_uncertainty(plan, drawn),
        "images": len(test.records),
        "probe": _probe(plan, done),
        "errors": errors,
        "curves": curves,
        "confusions": {loss: matrix.tolist() for loss, matrix in confusions.items()},
        "gallery": gallery,
    }
    write_json(folder / "comparison.json", {"schema_version": SCHEMA_VERSION, "identity": identity, **content})


def _probe(plan: Mapping[str, Any], done: Mapping[tuple[str, int], Path]) -> dict[str, Any]:
    """Return what the probes of all cells say together; nothing where a cell holds none of today's."""
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for loss in plan["losses"]:
        for seed in plan["seeds"]:
            images = read_probes(done[loss, seed]) if (loss, seed) in done else None
            if images is not None:
                groups.setdefault(loss, {})[seed] = images
    return compare_probes(groups, baseline=plan["baseline"]) if plan["baseline"] in groups else {}


def _draw(gt: dict[str, Any], done: Mapping[tuple[str, int], Path]) -> dict[tuple[str, int], dict[str, Array]]:
    """Return every metric of every cell, first on the test images as they are, then on every draw of them."""
    images = len(gt["images"])
    large = images > LARGE
    counts = draw_images(images, resamples=DRAWS_LARGE if large else DRAWS)
    counts = np.concatenate([np.ones((1, images), dtype=counts.dtype), counts])
    drawn = {}
    for key, cell in done.items():
        boxes = image_sums(read_json(cell / "localization.json")["images"])
        drawn[key] = {
            **drawn_metrics(gt, cell / "predictions.json", counts, by_size=not large),
            **{metric: drawn_means(*values, counts) for metric, values in boxes.items() if len(values[0]) == images},
        }
    return drawn


def _image_uncertainty(plan: Mapping[str, Any], drawn: Mapping[tuple[str, int], Mapping[str, Array]]) -> dict[str, Any]:
    """Return the uncertainty from the images: of each pair of runs, and the covariance between a candidate's seeds."""
    bootstrap, covariances = [], []
    for candidate in plan["losses"]:
        pairs = {
            seed: (drawn[plan["baseline"], seed], drawn[candidate, seed])
            for seed in plan["seeds"]
            if candidate != plan["baseline"] and (candidate, seed) in drawn and (plan["baseline"], seed) in drawn
        }
        common = [set(values) for pair in pairs.values() for values in pair]
        for metric in (name for name in (*METRICS, *PARTS) if common and all(name in names for names in common)):
            differences = {seed: above[metric] - below[metric] for seed, (below, above) in pairs.items()}
            for seed, values in differences.items():
                if metric in PAIR_METRICS:
                    low, high = percentile_interval(values[1:])
                    row = {"difference": float(values[0]), "low": low, "high": high, "resamples": len(values) - 1}
                    bootstrap.append({"candidate": candidate, "seed": seed, "metric": metric, **row})
            defined = [values[1:] for values in differences.values() if np.isfinite(values[0])]
            spread = covariance_of_draws(np.array(defined)) if defined else None
            if spread:
                row = {**spread._asdict(), "seeds": len(defined)}
                covariances.append({"candidate": candidate, "metric": metric, **row})
    bootstrap.sort(key=lambda row: plan["seeds"].index(row["seed"]))
    return {"bootstrap": bootstrap, "covariances": covariances}


def _gallery(folder: Path, test: Dataset, cells: Mapping[str, Path], *, seed: int) -> list[dict[str, Any]]:
    """Return the images whose gt boxes are detected with the most different IoU, with every cell's boxes."""
    detections = {loss: _by_image(read_json(cell / "predictions.json")) for loss, cell in cells.items()}
    spreads = []
    for number, record in enumerate(test.records):
        means = {
            loss: _mean_iou(record, by_image.get(number + 1, []), test.classes) for loss, by_image in detections.items()
        }
        known = [value for value in means.values() if value is not None]
        if known:
            spreads.append((max(known) - min(known), number, means))
    spreads.sort(key=lambda entry: (-entry[0], entry[1]))
    pictures = []
    for rank, (_, number, means) in enumerate(spreads[:PICTURES], 1):
        record = test.records[number]
        thumbnail = record.source.read()
        thumbnail.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
        scale = thumbnail.width / record.width
        buffer = io.BytesIO()
        thumbnail.save(buffer, "JPEG", quality=82)
        path = f"gallery/{rank:04d}.jpg"
        write_bytes(folder / path, buffer.getvalue())
        pictures.append(
            {
                "image": path,
                "name": record.name,
                "width": thumbnail.width,
                "height": thumbnail.height,
                "seed": seed,
                "truth": [_scaled(box, scale) for box in record.boxes if not box.ignored],
                "panels": {
                    loss: [_detection(row, test.classes, scale) for row in detections[loss].get(number + 1, [])]
                    for loss in cells
                },
                "mean_iou": means,
            }
        )
    return pictures


def _mean_iou(record: Record, detections: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> float | None:
    """Return the mean over the gt boxes of the best IoU with a detection of the class; a miss counts as 0."""
    best = []
    for gt_box in record.boxes:
        if not gt_box.ignored:
            boxes = [_corners(d["bbox"]) for d in detections if classes[d["category_id"] - 1] == gt_box.label]
            best.append(float(box_iou([gt_box.xyxy], boxes).max(initial=0)))
    return sum(best) / len(best) if best else None


def _by_image(predictions: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for row in predictions:
        if row["score"] >= LEAST_SCORE:
            grouped.setdefault(row["image_id"], []).append(row)
    return grouped


def _scaled(box: Box, scale: float) -> list[Any]:
    return [*(round(v * scale, 1) for v in box.xyxy), box.label]


def _detection(row: Mapping[str, Any], classes: Sequence[str], scale: float) -> list[Any]:
    corners = (round(v * scale, 1) for v in _corners(row["bbox"]))
    return [*corners, classes[row["category_id"] - 1], row["score"]]


def _corners(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    return x, y, x + width, y + height
