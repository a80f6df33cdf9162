"""The results of a refinement probe as tables and figures: for its own page, and for the report of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from smoothiou.report.metric import (
    INTERVAL_NOTE,
    KINDS,
    LOCALIZATION,
    NOTHING,
    Metric,
    conclusion_words,
    uncertainty_shares,
)
from smoothiou.report.series import Dots, Line, Panel, dot_row, line_of, with_shared_limits
from smoothiou.report.table import Cell, Row, Table
from smoothiou.study.stats import UNDECIDED, verdict_in_words

Comparison = Mapping[str, Any]
"""Result of `study.probes.compare_probes`, from a file."""

REFINED = tuple(metric for metric in LOCALIZATION if metric.key.startswith("refined"))
MEAN = REFINED[0]
HALVES = (
    Metric(key="refined_mean_below_75", name="before < .75", percent=False),
    Metric(key="refined_mean_from_75", name="before ≥ .75", percent=False),
)
"""Mean IoU after, of the boxes that were loose before and of those that were tight: a loss may gain in one alone."""
COLUMNS = (MEAN, *HALVES, *REFINED[1:])
BEFORE = "before refinement"
FROM, ABOVE = "refined_from_", "refined_above_"
BAND = 0.05
"""Width in IoU of a stratum of probes."""
ONE_SEED = "one seed proves nothing"
MAX_BANDS = 4
"""Most lines of a figure that still have their bands: more would hide each other."""


def ranked(comparison: Comparison) -> list[str]:
    """Return the groups with the highest mean IoU after refinement first."""
    return sorted(comparison["groups"], key=lambda name: -fmean(_values(comparison, name, MEAN.key) or [0.0]))


def in_order(comparison: Comparison) -> list[str]:
    """Return the groups, the baseline first: the place decides colour, dash and marker."""
    baseline = comparison["baseline"]
    return [baseline, *(name for name in comparison["groups"] if name != baseline)]


def difference(comparison: Comparison, candidate: str, metric: str) -> dict[str, Any] | None:
    """Return the paired difference of a candidate in a metric, or None where there is no pair."""
    for entry in comparison["differences"]:
        if entry["candidate"] == candidate and entry["metric"] == metric:
            return entry
    return None


def verdict(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the verdict of a difference in words, and its kind; of one pair it speaks of the images alone."""
    if entry["n"] >= 2:
        return conclusion_words(entry)
    if entry["verdict"] == UNDECIDED:
        return verdict_in_words(entry), KINDS[entry["verdict"]]
    return f"{entry['verdict']} on these boxes, but {ONE_SEED}", "unknown"


def refined_table(comparison: Comparison) -> Table:
    """Return how tight the boxes of each group come out, tightest first, below what they were before."""
    if not comparison:
        return Table("refined", "", "loss", [], [])
    rows = []
    if before := comparison.get("before"):
        cells = [Cell(metric.format(value), value=value) for metric in COLUMNS for value in [before[metric.key]]]
        rows.append(Row(BEFORE, cells, kind="wins"))
    for name in ranked(comparison):
        cells = []
        for metric in COLUMNS:
            values = _values(comparison, name, metric.key)
            spread = f"± {metric.format(stdev(values))}" if len(values) > 1 else ""
            mean = fmean(values) if values else None
            cells.append(Cell(metric.format(mean), spread, value=mean))
        rows.append(Row(name, cells, name, "loss"))
    note = (
        "Mean over seeds, its standard deviation beneath. Mean IoU of the refined boxes with their gt boxes: of all, "
        "of those below .75 before, of those from .75 on; then the share of all above an IoU, in %. "
        f"{describe_probes(comparison)}"
    )
    columns = ["mean IoU after", *(metric.name for metric in HALVES), "> .75", "> .85", "> .9"]
    return Table("refined", "How tight the boxes come out", "loss", columns, rows, [note])


def describe_probes(comparison: Comparison) -> str:
    """Return what the probes are, in a sentence."""
    first = next(iter(next(iter(comparison["groups"].values())).values()))
    (low, high), per_box = comparison["probe"]["iou"], comparison["probe"]["per_box"]
    return (
        f"{first['probes']} boxes, {per_box} for each gt box: it is shifted and scaled at random to an IoU of {low:g} "
        f"to {high:g}, spread evenly (mean {first['mean_before']:.4f}), and refined once by the second stage with the "
        "true class. All runs get the same boxes."
    )


def refinement_table(comparison: Comparison) -> Table:
    """Return the paired differences to the baseline with interval and conclusion, largest gain first.

    Without rows where there is no probe, or nothing to compare.
    """
    rows = []
    for name in ranked(comparison) if comparison else []:
        entry = difference(comparison, name, MEAN.key)
        if entry is None:
            continue
        text, kind = verdict(entry)
        cells = [
            Cell(MEAN.format(entry["mean"], signed=True), interval(entry, MEAN), value=entry["mean"]),
            Cell(text, uncertainty_shares(entry) if entry["n"] > 1 else "images only", kind=kind),
            Cell(f"{entry['wins']} of {entry['n']}", value=entry["wins"]),
            *(_gain(difference(comparison, name, metric.key), metric) for metric in COLUMNS[1:]),
        ]
        rows.append(Row(name, cells, name))
    columns = ["mean IoU", "conclusion", "seeds won"]
    columns += [metric.name for metric in HALVES]
    columns += [metric.name.removeprefix("refined ") for metric in REFINED[1:]]
    note = (
        f"Differences box by box, averaged over seeds, beneath them the 95% interval. {INTERVAL_NOTE} Beneath the "
        "conclusion stands what the uncertainty is made of. "
        "Shares above an IoU are in points. All boxes of an image are drawn together. One "
        "seed has an interval over test images alone."
    )
    caption = f"Refined boxes against {comparison['baseline']}" if comparison else ""
    return Table("refinement", caption, "loss", columns, rows, [note])


def interval(entry: Mapping[str, Any], metric: Metric) -> str:
    """Return the interval of a difference: over seeds and images, of one pair of runs over images alone."""
    return metric.interval(entry if entry["n"] > 1 else entry["images"])


def _gain(entry: Mapping[str, Any] | None, metric: Metric) -> Cell:
    if entry is None:
        return Cell(NOTHING)
    kind = verdict(entry)[1] if entry["n"] > 1 else ""
    return Cell(metric.format(entry["mean"], signed=True), interval(entry, metric), value=entry["mean"], kind=kind)


def ranking_dots(comparison: Comparison) -> list[Dots]:
    """Return the differences in mean IoU as a dot plot with a row for each loss, largest gain first."""
    entries = [(name, difference(comparison, name, MEAN.key)) for name in ranked(comparison)]
    rows = [
        dot_row(name, name, dict(zip(entry["seeds"], entry["pairs"], strict=True)), entry, loss=name)
        for name, entry in entries
        if entry
    ]
    if not rows:
        return []
    title = f"Mean IoU after refinement, minus {comparison['baseline']}"
    label = f"hundredths of IoU, minus {comparison['baseline']}"
    return with_shared_limits(
        [Dots(key="refined_ranking", title=title, candidate=rows[0].loss, rows=rows, label=label)]
    )


def refinement_panels(comparison: Comparison) -> list[Panel]:
    """Return IoU after against IoU before, the same as paired differences, and the gain at each threshold."""
    names, minus = in_order(comparison), f"minus {comparison['baseline']}"
    before, after, middle = "IoU before", "IoU after", BAND / 2
    curves = [_absolute(comparison, name, FROM, shift=middle) for name in names]
    gains = [_relative(comparison, name, FROM, shift=middle) for name in names[1:]]
    above = [_relative(comparison, name, ABOVE, shift=0.0) for name in names[1:]]
    return [
        *_panel("refined_curve", "IoU after, against IoU before", before, after, curves),
        *_panel("refined_curve_difference", f"The same, {minus}", before, "hundredths of IoU", gains, zero_line=True),
        *_panel("refined_shares_difference", f"Share above an IoU, {minus}", after, "points", above, zero_line=True),
    ]


def convergence_panels(cells: list[Mapping[str, Any]], names: list[str]) -> list[Panel]:
    """Return how regressors were trained: mean IoU on the test boxes and on the training boxes, against the step."""
    panels = []
    for key, title in (("test", "Test boxes"), ("train", "Training boxes, as predicted during training")):
        lines = []
        for name in names:
            curves = [cell["curve"] for cell in cells if cell["loss"] == name]
            runs = [{p["step"]: p[key] for p in curve if p[key] is not None and p["step"]} for curve in curves]
            lines.append(line_of(name, runs))
        panels += _panel(f"refit_{key}", title, "step", "mean IoU", lines)
    return panels


def _panel(
    key: str, title: str, x_label: str, y_label: str, lines: Iterable[Line | None], *, zero_line: bool = False
) -> list[Panel]:
    """Return a panel of the lines there are, without bands where there are too many; none without a line."""
    drawn = [line for line in lines if line]
    if len(drawn) > MAX_BANDS:
        drawn = [replace(line, seeds=1) for line in drawn]
    panel = Panel(
        key=key, title=title, x_label=x_label, y_label=y_label, lines=drawn, zero_line=zero_line, markers=True
    )
    return [panel] if drawn else []


def _absolute(comparison: Comparison, name: str, column: str, *, shift: float) -> Line | None:
    metrics = [metric for metric in comparison["metrics"] if metric.startswith(column)]
    runs = comparison["groups"][name].values()
    return line_of(name, [{_iou(m) + shift: run[m] for m in metrics if run.get(m) is not None} for run in runs])


def _relative(comparison: Comparison, name: str, column: str, *, shift: float) -> Line | None:
    entries = [
        entry
        for entry in comparison["differences"]
        if entry["candidate"] == name and entry["metric"].startswith(column)
    ]
    pairs = len(entries[0]["pairs"]) if entries else 0
    runs = [{_iou(entry["metric"]) + shift: 100 * entry["pairs"][pair] for entry in entries} for pair in range(pairs)]
    return line_of(name, runs)


def _iou(metric: str) -> float:
    return int(metric.rsplit("_", 1)[1]) / 100


def _values(comparison: Comparison, name: str, metric: str) -> list[float]:
    return [run[metric] for run in comparison["groups"][name].values() if run.get(metric) is not None]
