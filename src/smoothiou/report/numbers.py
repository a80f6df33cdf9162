"""results.csv: every number of every table and figure, one per line, as it was before rounding."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from smoothiou.report.material import METRICS, Material
from smoothiou.report.refinement import refinement_panels
from smoothiou.report.series import (
    Panel,
    ap_panels,
    class_differences,
    histogram_panels,
    training_panels,
)

HEADER = ("part", "loss", "baseline", "seed", "metric", "x", "statistic", "value", "signature")
"""`part`: the table or figure. `x`: IoU threshold, left edge of a bin, step, class or image. AP, AR and IoU
lie in 0..1 in the parts `metrics`, `difference` and `bootstrap`; figures are in the units of their axes."""


def results_csv(material: Material) -> str:
    """Return the tidy table of all numbers as CSV text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for row in _rows(material):
        if row["value"] is not None:
            writer.writerow([row.get(column, "") for column in HEADER])
    return buffer.getvalue()


def _rows(material: Material) -> Iterator[dict[str, Any]]:
    yield from _metric_rows(material)
    yield from _difference_rows(material)
    for part, panels in (
        ("ap_by_iou", ap_panels(material)),
        ("histogram", histogram_panels(material)),
        ("training", training_panels(material)),
        ("refinement", refinement_panels(material.probe) if material.probe else []),
    ):
        for panel in panels:
            yield from _panel_rows(part, panel, material)
    for dots in class_differences(material):
        for row in dots.rows:
            fixed = {
                "part": "per_class",
                "loss": dots.candidate,
                "baseline": material.baseline,
                "metric": "AP",
                "x": row.name,
            }
            for seed, value in row.seeds.items():
                yield {**fixed, "seed": seed, "statistic": "difference", "value": value}
            yield {**fixed, "statistic": "mean difference", "value": row.mean}
    for cell in material.finished:
        for name, value in cell["result"].get("per_class", {}).items():
            yield {**_run(cell, "per_class"), "metric": "AP", "x": name, "statistic": "value", "value": value}
        for name, value in (cell["result"].get("cost") or {}).items():
            yield {**_run(cell, "cost"), "metric": name, "statistic": "value", "value": value}
        rate = (cell["result"].get("optim") or {}).get("lr")
        yield {**_run(cell, "cost"), "metric": "lr", "statistic": "value", "value": rate}
    for row in material.summary.get("errors") or []:
        fixed = {"part": "errors", "loss": row["loss"], "seed": row["seed"], "metric": "AP50", "statistic": "gain"}
        for kind, value in row["gains"].items():
            yield {**fixed, "x": kind, "value": value}
    for picture in material.gallery:
        for loss, value in (picture.get("mean_iou") or {}).items():
            fixed = {"part": "gallery", "loss": loss, "seed": picture.get("seed"), "metric": "mean_iou"}
            yield {**fixed, "x": picture.get("name"), "statistic": "value", "value": value}


def _run(cell: dict[str, Any], part: str) -> dict[str, Any]:
    return {"part": part, "loss": cell["loss"], "seed": cell["seed"]}


def _metric_rows(material: Material) -> Iterator[dict[str, Any]]:
    for loss in material.losses:
        for key, entry in material.summary["summary"].get(loss, {}).items():
            signature = material.summary["signatures"].get(key, "")
            fixed = {"part": "metrics", "loss": loss, "metric": key, "signature": signature}
            for seed, value in material.seed_values(loss, key).items():
                own = re.sub(r"seeds?:\d+", f"seed:{seed}", signature)
                yield {**fixed, "seed": seed, "statistic": "value", "value": value, "signature": own}
            for statistic in ("mean", "sd"):
                yield {**fixed, "statistic": statistic, "value": entry.get(statistic)}
            if key in METRICS and material.candidates:
                yield {**fixed, "statistic": "wins", "value": material.summary["wins"][key][loss]}


def _difference_rows(material: Material) -> Iterator[dict[str, Any]]:
    for entry in material.summary["differences"]:
        candidate, key = entry["candidate"], entry["metric"]
        fixed = {"part": "difference", "loss": candidate, "baseline": material.baseline, "metric": key}
        for seed, value in material.seed_differences(candidate, key).items():
            yield {**fixed, "seed": seed, "statistic": "difference", "value": value}
        for statistic in ("mean", "low", "high", "n", "wins"):
            yield {**fixed, "statistic": statistic, "value": entry.get(statistic)}
    for entry in material.probe.get("differences", []):
        fixed = {"part": "refinement", "loss": entry["candidate"], "baseline": material.baseline}
        values = {key: entry[key] for key in ("mean", "low", "high", "n", "wins")}
        values |= {f"{key} over images": entry["images"][key] for key in ("low", "high", "resamples")}
        for statistic, value in values.items():
            yield {**fixed, "metric": entry["metric"], "statistic": statistic, "value": value}
    for entry in material.summary.get("bootstrap") or []:
        fixed = {"part": "bootstrap", "loss": entry["candidate"], "baseline": material.baseline}
        for statistic in ("difference", "low", "high", "resamples"):
            yield {
                **fixed,
                "seed": entry["seed"],
                "metric": entry["metric"],
                "statistic": statistic,
                "value": entry.get(statistic),
            }


def _panel_rows(part: str, panel: Panel, material: Material) -> Iterator[dict[str, Any]]:
    baseline = material.baseline if panel.zero_line else ""
    for line in panel.lines:
        seed = "" if line.stopped is None else line.stopped
        fixed = {"part": part, "loss": line.loss, "baseline": baseline, "metric": panel.key, "seed": seed}
        statistics = {"mean": line.mean, "lowest seed": line.low, "highest seed": line.high}
        for statistic, values in statistics.items():
            if statistic == "mean" or line.seeds > 1:
                for x, value in zip(line.x, values, strict=True):
                    yield {**fixed, "x": f"{x:g}", "statistic": statistic, "value": value}
