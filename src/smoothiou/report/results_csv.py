"""results.csv: every number of every table and figure, one per line, as it was before rounding."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smoothiou.report.confusion import BACKGROUND
from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import METRICS
from smoothiou.report.refinement_tables import refinement_panels
from smoothiou.report.series import (
    Panel,
    ap_panels,
    class_differences,
    histogram_panels,
    precision_panels,
    training_panels,
)

HEADER: tuple[str, ...] = ("part", "loss", "baseline", "seed", "metric", "x", "statistic", "value", "signature")
"""`part`: the table or figure. `x`: IoU threshold, left edge of a bin, step, class or image. AP, AR and IoU
lie in 0..1 in the parts `metrics`, `difference` and `bootstrap`; figures are in the units of their axes."""

Line = dict[str, Any]


def results_csv(study: LoadedStudy) -> str:
    """Return the tidy table of all numbers as CSV text."""
    return csv_text(_lines(study))


def csv_text(lines: Iterable[Line]) -> str:
    """Return lines as CSV text under `HEADER`, without those that have no value."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(line for line in lines if line["value"] is not None)
    return buffer.getvalue()


def _lines(study: LoadedStudy) -> Iterator[Line]:
    yield from _metrics(study)
    yield from _differences(study)
    for part, panels in (
        ("ap_by_iou", ap_panels(study)),
        ("precision", precision_panels(study)),
        ("histogram", histogram_panels(study)),
        ("training", training_panels(study)),
        ("refinement", refinement_panels(study.probe) if study.probe else []),
    ):
        for panel in panels:
            yield from _panel(part, panel, study)
    for dots in class_differences(study):
        for row in dots.rows:
            line = {"part": "per_class", "loss": dots.candidate, "baseline": study.baseline, "metric": "AP"}
            for seed, value in row.seeds.items():
                yield {**line, "x": row.name, "seed": seed, "statistic": "difference", "value": value}
            yield {**line, "x": row.name, "statistic": "mean difference", "value": row.mean}
    for cell in study.finished:
        line = {"loss": cell["loss"], "seed": cell["seed"], "statistic": "value"}
        for name, value in cell["result"].get("per_class", {}).items():
            yield {**line, "part": "per_class", "metric": "AP", "x": name, "value": value}
        rate = (cell["result"].get("optim") or {}).get("lr")
        for name, value in {**(cell["result"].get("cost") or {}), "lr": rate}.items():
            yield {**line, "part": "cost", "metric": name, "value": value}
    for row in study.summary.get("errors") or []:
        line = {"part": "errors", "loss": row["loss"], "seed": row["seed"], "metric": "AP50", "statistic": "gain"}
        yield from ({**line, "x": kind, "value": value} for kind, value in row["gains"].items())
    names = [*(study.plan.get("classes") or []), BACKGROUND]
    for loss, matrix in (study.summary.get("confusions") or {}).items():
        for gt_class, row in zip(names, matrix, strict=True):
            line = {"part": "confusion", "loss": loss, "metric": gt_class, "statistic": "count"}
            yield from ({**line, "x": name, "value": count} for name, count in zip(names, row, strict=True))
    for picture in study.gallery:
        line = {"part": "gallery", "seed": picture.get("seed"), "metric": "mean_iou", "x": picture.get("name")}
        for loss, value in (picture.get("mean_iou") or {}).items():
            yield {**line, "loss": loss, "statistic": "value", "value": value}


def _metrics(study: LoadedStudy) -> Iterator[Line]:
    for loss in study.losses:
        for key, entry in study.summary["summary"].get(loss, {}).items():
            signature = study.summary["signatures"].get(key, "")
            line = {"part": "metrics", "loss": loss, "metric": key, "signature": signature}
            for seed, value in study.seed_values(loss, key).items():
                of_seed = re.sub(r"seeds?:\d+", f"seed:{seed}", signature)
                yield {**line, "seed": seed, "statistic": "value", "value": value, "signature": of_seed}
            yield from statistics(line, {key: entry.get(key) for key in ("mean", "sd")})
            if key in METRICS and study.candidates:
                yield from statistics(line, {"wins": study.summary["wins"][key][loss]})


def _differences(study: LoadedStudy) -> Iterator[Line]:
    for entry in study.summary["differences"]:
        line = _candidate("difference", entry, study)
        for seed, value in study.seed_differences(entry["candidate"], entry["metric"]).items():
            yield {**line, "seed": seed, "statistic": "difference", "value": value}
        yield from statistics(line, judged_numbers(entry))
    yield from probe_differences("refinement", study.probe)
    for entry in study.summary.get("bootstrap") or []:
        line = {**_candidate("bootstrap", entry, study), "seed": entry["seed"]}
        yield from statistics(line, {key: entry.get(key) for key in ("difference", "low", "high", "resamples")})


def probe_differences(part: str, comparison: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the differences of a probe, seed by seed and as they are judged, with the interval over images."""
    for entry in comparison.get("differences") or []:
        line = {"part": part, "loss": entry["candidate"], "baseline": entry["baseline"], "metric": entry["metric"]}
        for seed, value in zip(entry["seeds"], entry["pairs"], strict=True):
            yield {**line, "seed": seed, "statistic": "difference", "value": value}
        values = judged_numbers(entry)
        values |= {f"{key} over images": entry["images"][key] for key in ("low", "high", "resamples")}
        yield from statistics(line, values)


def judged_numbers(entry: Mapping[str, Any]) -> Line:
    """Return the numbers of a difference; those that an earlier version did not write are None."""
    numbers = ("mean", "low", "high", "n", "wins", "error", "degrees", "from_seeds", "from_images", "margin")
    values = {key: entry.get(key) for key in (*numbers, "seeds_needed", "images_needed")}
    return {**values, **{f"{end} over seeds only": (entry.get("seeds_only") or {}).get(end) for end in ("low", "high")}}


def _candidate(part: str, entry: Mapping[str, Any], study: LoadedStudy) -> Line:
    return {"part": part, "loss": entry["candidate"], "baseline": study.baseline, "metric": entry["metric"]}


def statistics(line: Line, values: Mapping[str, Any]) -> Iterator[Line]:
    """Return a line for each statistic."""
    return ({**line, "statistic": statistic, "value": value} for statistic, value in values.items())


def _panel(part: str, panel: Panel, study: LoadedStudy) -> Iterator[Line]:
    baseline = study.baseline if panel.zero_line else ""
    for curve in panel.lines:
        seed = "" if curve.stopped is None else curve.stopped
        line = {"part": part, "loss": curve.loss, "baseline": baseline, "metric": panel.key, "seed": seed}
        statistics = {"mean": curve.mean, "lowest seed": curve.low, "highest seed": curve.high}
        for statistic, values in statistics.items():
            if statistic == "mean" or curve.seeds > 1:
                for x, value in zip(curve.x, values, strict=True):
                    yield {**line, "x": f"{x:g}", "statistic": statistic, "value": value}
