"""What a run's detector does wrong on a split, with pictures of the worst images and of doubtful labels."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou.data.doctor.decode import small_jpeg
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset, Record
from smoothiou.engine.evaluate import MeasuredRun
from smoothiou.errors import DataError
from smoothiou.files import read_json
from smoothiou.metrics.diagnostics import diagnose

IMAGES = 8
"""Worst images, and as many with doubtful labels, of which pictures are kept."""


def diagnose_run(run: MeasuredRun, *, folder: Path) -> dict[str, Any]:
    """Return `metrics.diagnostics.diagnose` of a run, with the pictures that its page shows.

    Args:
        run: evaluated on the split.
        folder: of the run, whose best scores are taken where this split is the one that they were judged on.
    """
    data, predictions = run.measurement.data, run.measurement.predictions
    diagnostics = diagnose(to_coco(data), predictions, scores=_recorded_scores(folder, run.result))
    least = {name: entry["score"] for name, entry in diagnostics["best_scores"]["per_class"].items()}
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for row in predictions:
        name = data.classes[row["category_id"] - 1]
        if row["score"] >= (0.5 if least.get(name) is None else least[name]):
            by_image.setdefault(row["image_id"], []).append(row)
    worst = [
        {**entry, **_picture(data, entry["image"], by_image.get(entry["image"], []))}
        for entry in diagnostics["images"][:IMAGES]
        if entry["wrong"] or entry["missed"]
    ]
    doubtful = [{**entry, **_picture(data, entry["image"], [])} for entry in diagnostics["labels"][:IMAGES]]
    names = [record.name for record in data.records]
    return {
        **diagnostics,
        "data": f"{data.name}/{data.split}",
        "images": [{**entry, "name": names[entry["image"] - 1]} for entry in diagnostics["images"]],
        "labels": [{**entry, "name": names[entry["image"] - 1]} for entry in diagnostics["labels"]],
        "pictures": {"worst": worst, "labels": doubtful},
    }


def _recorded_scores(folder: Path, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        recorded = read_json(folder / "result.json")
    except DataError:
        return None
    same = isinstance(recorded, dict) and recorded.get("signature") == result["signature"]
    return recorded.get("best_scores") if same and result["checkpoint"] == "last" else None


def _picture(data: Dataset, number: int, detections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an image as JPEG in base64, with its boxes and detections as corners, class and score."""
    record: Record = data.records[number - 1]
    drawn = []
    for row in detections:
        x, y, width, height = row["bbox"]
        drawn.append([x, y, x + width, y + height, data.classes[row["category_id"] - 1], row["score"]])
    return {
        "name": record.name,
        "width": record.width,
        "height": record.height,
        "jpeg": base64.b64encode(small_jpeg(record.source.read())).decode(),
        "truth": [[*box.xyxy, box.label] for box in record.boxes if not box.ignored],
        "detections": drawn,
    }
