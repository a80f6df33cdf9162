"""The numbers of every figure of a study, computed once: the drawn numbers are those of results.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import DETECTION, LOCALIZATION, METRICS
from smoothiou.report.training_curves import moving_average, thin

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
    ("val_loss", "Validation: total loss"),
    ("val_loss_objectness", "Validation, RPN: objectness"),
    ("val_loss_rpn_box_reg", "Validation, RPN: box loss"),
    ("val_loss_classifier", "Validation, RoI head: classifier"),
    ("val_loss_box_reg", "Validation, RoI head: box loss"),
    ("lr", "Learning rate"),
)

FOREST = (("localization", LOCALIZATION), ("detection", DETECTION))
FIRST = ("AP", "AP50", "AP75")
HISTOGRAMS = (
    ("matched", "Detections matched to a gt box"),
    ("refined", "Refined gt boxes"),
    ("raw", "All proposed boxes"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One loss in a panel: the mean over seeds at each x, between the lowest and the highest seed.

    A run that did not finish is a line of its own (`stopped`, its seed): averaged in, it would bend the mean where it
    ends.
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
    """Differences of one candidate to the baseline, row by row.

    `label` is written below the axis, if not empty; `margin`, in points, is shaded about 0.
    """

    key: str
    title: str
    candidate: str
    rows: list[DotRow]
    limits: tuple[float, float] = (0.0, 0.0)
    label: str = ""
    margin: float = 0.0


def line_of(loss: str, runs: Iterable[Mapping[float, float]], *, stopped: int | None = None) -> Line | None:
    """Return the mean and range over runs (x -> value) at every x of any run; None without a point."""
    runs = [run for run in runs if run]
    xs = sorted({x for run in runs for x in run})
    values = [[run[x] for run in runs if x in run] for x in xs]
    if not xs:
        return None
    mean, low, high = ([reduce(at_x) for at_x in values] for reduce in (fmean, min, max))
    return Line(loss=loss, x=xs, mean=mean, low=low, high=high, seeds=len(runs), stopped=stopped)


def dot_row(name: str, key: str, seeds: Mapping[int, float], entry: Mapping[str, Any], *, loss: str = "") -> DotRow:
    """Return a row, in points, of each seed's difference and of the paired difference `entry`."""
    low, high = (None if entry.get(end) is None else 100 * entry[end] for end in ("low", "high"))
    points = {seed: 100 * value for seed, value in seeds.items()}
    return DotRow(name=name, key=key, seeds=points, mean=100 * entry["mean"], low=low, high=high, loss=loss)


def with_shared_limits(groups: list[Dots]) -> list[Dots]:
    """Give all groups of a key one axis, so that candidates can be compared by eye; zero is always on it."""
    shared = []
    for group in groups:
        values = [-group.margin, group.margin]
        for row in (row for other in groups if other.key == group.key for row in other.rows):
            values += [*row.seeds.values(), *(end for end in (row.low, row.high) if end is not None)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        shared.append(replace(group, limits=(min(values) - room, max(values) + room)))
    return shared


def training_panels(material: LoadedStudy) -> list[Panel]:
    """Return one panel per column of metrics.csv that any run has."""
    panels = []
    for column, title in TRAINING:
        lines = []
        for loss in material.losses:
            done, stopped = [], []
            for cell in material.summary["cells"]:
                points = material.curves[cell["id"]].get(column)
                if cell["loss"] == loss and points:
                    smooth = thin(points if column == "lr" or column.startswith("val_") else moving_average(points))
                    (done if cell.get("result") else stopped).append((cell["seed"], dict(smooth)))
            lines.append(line_of(loss, [curve for _, curve in done]))
            lines += [line_of(loss, [curve], stopped=seed) for seed, curve in stopped]
        panels += _panel(column, title, lines, x_label="step", markers=column.startswith("val_"))
    return panels


def ap_panels(material: LoadedStudy) -> list[Panel]:
    """Return AP against the IoU threshold, and the same as paired differences to the baseline, in points."""
    absolute = [line_of(loss, map(_by_threshold, material.results(loss).values())) for loss in material.losses]
    relative = []
    for candidate in material.candidates:
        differences = []
        for _, base, other in material.paired(candidate):
            below, above = _by_threshold(base), _by_threshold(other)
            differences.append({x: above[x] - below[x] for x in below if x in above})
        relative.append(line_of(candidate, differences))
    key, title, x_label = "ap_by_iou", "AP against the IoU threshold", "IoU threshold"
    return [
        *_panel(key, title, absolute, x_label=x_label, y_label="AP, %", markers=True),
        *_panel(
            f"{key}_difference", f"The same, minus {material.baseline}", relative, x_label=x_label, y_label="points",
            zero_line=True, markers=True,
        ),
    ]  # fmt: skip


def precision_panels(material: LoadedStudy) -> list[Panel]:
    """Return precision against recall at an IoU of 0.5, the mean over classes; nothing of an older comparison.json."""
    runs: dict[str, list[dict[float, float]]] = {}
    for row in material.summary.get("curves") or []:
        runs.setdefault(row["loss"], []).append(dict(zip(row["recall"], row["precision"], strict=True)))
    lines = [line_of(loss, runs.get(loss, [])) for loss in material.losses]
    title = "Precision against recall (IoU 0.5), mean over classes"
    return _panel("precision", title, lines, x_label="recall", y_label="precision")


def histogram_panels(material: LoadedStudy) -> list[Panel]:
    """Return the shares of boxes per IoU bin: matched detections, refined gt boxes, all proposed boxes."""
    panels = []
    for kind, title in HISTOGRAMS:
        edges: list[float] = []
        lines = []
        for loss in material.losses:
            runs = []
            for result in material.results(loss).values():
                histogram = (result.get("localization") or {}).get("histogram") or {}
                counts = histogram.get(kind) or []
                if sum(counts):
                    edges = histogram["edges"]
                    runs.append({edge: 100 * count / sum(counts) for edge, count in zip(edges, counts, strict=False)})
            lines.append(line_of(loss, runs))
        panels += _panel(
            f"histogram_{kind}", title, lines, x_label="IoU with the gt box", y_label="% of boxes", edges=edges
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
                    rows.append(dot_row(metric.full_name, metric.key, seeds, entry))
            if rows:
                title = f"{candidate} minus {material.baseline}: {kind}"
                groups.append(Dots(key=f"difference_{kind}", title=title, candidate=candidate, rows=rows))
    return with_shared_limits(groups)


def first_differences(material: LoadedStudy) -> list[Dots]:
    """Return the picture of the result: AP of every candidate, or of a single one AP, AP50 and AP75."""
    candidates = material.candidates
    several, rows, margins = len(candidates) > 1, [], []
    for candidate in candidates:
        for key in ("AP",) if several else FIRST:
            entry, seeds = material.difference(candidate, key), material.seed_differences(candidate, key)
            if entry and seeds:
                name = candidate if several else METRICS[key].full_name
                rows.append(dot_row(name, key, seeds, entry, loss=candidate))
                margins.append(100 * entry["margin"])
    if not rows:
        return []
    minus = f"minus {material.baseline}"
    title = f"AP, {minus}" if several else f"{candidates[0]} {minus}"
    dots = Dots(
        key="result", title=title, candidate=candidates[0], rows=rows, margin=margins[0],
        label=f"AP points, {minus}" if several else "",
    )  # fmt: skip
    return with_shared_limits([dots])


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
                    seeds[seed] = above - below
            if seeds:
                rows.append(dot_row(name, name, seeds, {"mean": fmean(seeds.values())}))
        if rows:
            rows.sort(key=lambda row: -row.mean)
            title = f"{candidate} minus {material.baseline}"
            groups.append(Dots(key="per_class", title=title, candidate=candidate, rows=rows))
    return with_shared_limits(groups)


def _panel(
    key: str, title: str, lines: Iterable[Line | None], *, x_label: str, y_label: str = "", **options: Any
) -> list[Panel]:
    """Return a panel of the lines there are; none without a line."""
    drawn = [line for line in lines if line]
    return [Panel(key=key, title=title, x_label=x_label, y_label=y_label, lines=drawn, **options)] if drawn else []


def _by_threshold(result: Mapping[str, Any]) -> dict[float, float]:
    ap = result.get("ap_by_iou") or {}
    return {float(x): 100 * ap[x] for x in sorted(ap, key=float) if ap[x] is not None}
