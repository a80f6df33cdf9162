"""The numbers behind every figure, computed once: what is drawn is what goes into results.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from smoothiou.report.curves import moving_average, thin
from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import DETECTION, LOCALIZATION

TRAINING = (
    ("loss", "Total loss"),
    ("loss_objectness", "RPN: objectness"),
    ("loss_rpn_box_reg", "RPN: box loss"),
    ("loss_classifier", "RoI head: classifier"),
    ("loss_box_reg", "RoI head: box loss"),
    ("rpn_mean_iou", "RPN: mean IoU of positives"),
    ("roi_mean_iou", "RoI head: mean IoU of positives"),
    ("rpn_lambda", "RPN: λ"),
    ("roi_lambda", "RoI head: λ"),
    ("val_AP", "Validation AP"),
    ("val_mean_iou", "Validation mean IoU"),
    ("lr", "Learning rate"),
)
UNSMOOTHED = frozenset({"lr", "val_AP", "val_AP50", "val_mean_iou"})

FOREST = (("localization", LOCALIZATION), ("detection", DETECTION))


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One loss in a panel: the mean over seeds at each x, between the lowest and the highest seed.

    A run that did not finish is a line of its own (`stopped`), since averaging it in would
    bend the mean where it ends.
    """

    loss: str
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    seeds: int
    stopped: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One small figure: lines over an axis, or histograms (`edges`)."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    edges: list[float] | None = None
    zero_line: bool = False
    markers: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DotRow:
    """One row of a dot plot, in points (hundredths): each seed's difference, their mean, maybe an interval.

    `loss` gives a row the colour and mark of a loss of its own, where rows are losses.
    """

    name: str
    key: str
    seeds: dict[int, float]
    mean: float
    low: float | None = None
    high: float | None = None
    loss: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dots:
    """Differences of one candidate to the baseline, row by row; `label` is written below the axis, if not empty."""

    key: str
    title: str
    candidate: str
    rows: list[DotRow]
    limits: tuple[float, float] = (0.0, 0.0)
    label: str = ""


def with_shared_limits(groups: list[Dots]) -> list[Dots]:
    """Give all groups of a key one axis, so that candidates can be compared by eye; zero is always on it."""
    shared = []
    for group in groups:
        values = [0.0]
        for row in (row for other in groups if other.key == group.key for row in other.rows):
            values += [*row.seeds.values(), *(end for end in (row.low, row.high) if end is not None)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        shared.append(replace(group, limits=(min(values) - room, max(values) + room)))
    return shared


def training_panels(material: LoadedStudy) -> list[Panel]:
    """Return one panel per column of metrics.csv that was measured anywhere."""
    panels = []
    for column, title in TRAINING:
        lines = []
        for loss in material.losses:
            done, stopped = [], []
            for cell in material.summary["cells"]:
                points = material.curves[cell["id"]].get(column)
                if cell["loss"] == loss and points:
                    smooth = thin(points if column in UNSMOOTHED else moving_average(points))
                    (done if cell.get("result") else stopped).append((cell["seed"], smooth))
            if done:
                lines.append(_line(loss, [dict(curve) for _, curve in done]))
            for seed, curve in stopped:
                lines.append(_line(loss, [dict(curve)], stopped=seed))
        if lines:
            panels.append(
                Panel(
                    key=column,
                    title=title,
                    x_label="step",
                    y_label="",
                    lines=lines,
                    markers=column.startswith("val_"),
                )
            )
    return panels


def ap_panels(material: LoadedStudy) -> list[Panel]:
    """Return AP against the IoU threshold, and the same as paired differences to the baseline, in points."""
    absolute = [
        _line(loss, [_by_threshold(result, 100) for result in material.results(loss).values()])
        for loss in material.losses
        if any(_by_threshold(result, 100) for result in material.results(loss).values())
    ]
    relative = []
    for candidate in material.candidates:
        differences = []
        for _, base, other in material.paired(candidate):
            below, above = _by_threshold(base, 100), _by_threshold(other, 100)
            differences.append({x: above[x] - below[x] for x in below if x in above})
        if any(differences):
            relative.append(_line(candidate, differences))
    panels = []
    if absolute:
        panels.append(
            Panel(
                key="ap_by_iou",
                title="AP against the IoU threshold",
                x_label="IoU threshold",
                y_label="AP, %",
                lines=absolute,
                markers=True,
            )
        )
    if relative:
        panels.append(
            Panel(
                key="ap_by_iou_difference",
                title=f"The same, minus {material.baseline}",
                x_label="IoU threshold",
                y_label="points",
                lines=relative,
                zero_line=True,
                markers=True,
            )
        )
    return panels


def histogram_panels(material: LoadedStudy) -> list[Panel]:
    """Return the shares of boxes per IoU bin: matched detections, refined truth boxes, all proposed boxes."""
    panels = []
    names = {
        "matched": "Detections matched to a truth box",
        "refined": "Refined truth boxes",
        "raw": "All proposed boxes",
    }
    for kind, title in names.items():
        edges: list[float] = []
        lines = []
        for loss in material.losses:
            shares = []
            for result in material.results(loss).values():
                histogram = (result.get("localization") or {}).get("histogram") or {}
                counts = histogram.get(kind) or []
                if sum(counts):
                    edges = histogram["edges"]
                    shares.append({edge: 100 * count / sum(counts) for edge, count in zip(edges, counts, strict=False)})
            if shares:
                lines.append(_line(loss, shares))
        if lines:
            panels.append(
                Panel(
                    key=f"histogram_{kind}",
                    title=title,
                    x_label="IoU with truth",
                    y_label="% of boxes",
                    lines=lines,
                    edges=edges,
                )
            )
    return panels


def forest(material: LoadedStudy) -> list[Dots]:
    """Return the paired differences: per candidate one group of rows for IoU and one for AP and AR."""
    groups = []
    for candidate in material.candidates:
        for kind, metrics in FOREST:
            rows = []
            for metric in metrics:
                entry = material.difference(candidate, metric.key)
                seeds = material.seed_differences(candidate, metric.key)
                if entry and seeds:
                    low, high = (None if entry.get(end) is None else 100 * entry[end] for end in ("low", "high"))
                    points = {seed: 100 * value for seed, value in seeds.items()}
                    mean = 100 * entry["mean"]
                    rows.append(
                        DotRow(
                            name=metric.full_name,
                            key=metric.key,
                            seeds=points,
                            mean=mean,
                            low=low,
                            high=high,
                        )
                    )
            if rows:
                title = f"{candidate} minus {material.baseline}: {kind}"
                groups.append(Dots(key=f"difference_{kind}", title=title, candidate=candidate, rows=rows))
    return with_shared_limits(groups)


def class_differences(material: LoadedStudy) -> list[Dots]:
    """Return the paired differences of AP per class, largest gain first."""
    groups = []
    for candidate in material.candidates:
        rows = []
        for name in material.plan.get("classes") or []:
            seeds = {}
            for seed, base, other in material.paired(candidate):
                below, above = (result.get("per_class", {}).get(name) for result in (base, other))
                if below is not None and above is not None:
                    seeds[seed] = 100 * (above - below)
            if seeds:
                rows.append(DotRow(name=name, key=name, seeds=seeds, mean=fmean(seeds.values())))
        if rows:
            rows.sort(key=lambda row: -row.mean)
            title = f"{candidate} minus {material.baseline}"
            groups.append(Dots(key="per_class", title=title, candidate=candidate, rows=rows))
    return with_shared_limits(groups)


def _line(loss: str, runs: Iterable[Mapping[float, float]], *, stopped: int | None = None) -> Line:
    runs = [run for run in runs if run]
    steps = sorted({x for run in runs for x in run})
    groups = [[run[x] for run in runs if x in run] for x in steps]
    return Line(
        loss=loss,
        x=steps,
        mean=[fmean(group) for group in groups],
        low=[min(group) for group in groups],
        high=[max(group) for group in groups],
        seeds=len(runs),
        stopped=stopped,
    )


def _by_threshold(result: Mapping[str, Any], scale: float) -> dict[float, float]:
    found = result.get("ap_by_iou") or {}
    return {
        float(x): scale * value
        for x, value in sorted(found.items(), key=lambda item: float(item[0]))
        if value is not None
    }
