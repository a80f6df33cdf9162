"""The numbers behind every figure, computed once: what is drawn is what goes into results.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import fmean
from typing import Any

from smoothiou.report.material import METRICS, Curve, Material

POINTS = 100
"""A training curve is thinned to about this many points, so that a page stays light."""

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
    ("grad_norm", "Gradient norm"),
    ("lr", "Learning rate"),
)
UNSMOOTHED = frozenset({"lr", "val_AP", "val_AP50", "val_mean_iou"})

FOREST = ("mean_iou", "mean_iou_positive", "mean_iou_matched", "refined_mean_iou", "AP50", "AP75", "AP", "AR10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One loss in a panel: the mean over seeds at each x, between the lowest and the highest seed.

    A run that did not finish is a line of its own (`stopped`), since averaging it in would bend the mean where it ends.
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
    """One row of a dot plot, in points (hundredths): each seed's difference, their mean, and an interval if there is one."""

    name: str
    key: str
    seeds: dict[int, float]
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dots:
    """Differences of one candidate to the baseline, row by row."""

    key: str
    candidate: str
    rows: list[DotRow] = field(default_factory=list)


def training_panels(material: Material) -> list[Panel]:
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
                Panel(key=column, title=title, x_label="step", y_label="", lines=lines, markers=column.startswith("val_"))
            )
    return panels


def ap_panels(material: Material) -> list[Panel]:
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
            Panel(key="ap_by_iou", title="AP against the IoU threshold", x_label="IoU threshold", y_label="AP, %", lines=absolute, markers=True)
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


def histogram_panels(material: Material) -> list[Panel]:
    """Return the shares of boxes per IoU bin: matched detections, refined truth boxes, all proposed boxes."""
    panels = []
    names = {"matched": "Detections matched to a truth box", "refined": "Refined truth boxes", "raw": "All proposed boxes"}
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
                Panel(key=f"histogram_{kind}", title=title, x_label="IoU with truth", y_label="% of boxes", lines=lines, edges=edges)
            )
    return panels


def forest(material: Material) -> list[Dots]:
    """Return the paired differences of the main metrics, one group of rows per candidate."""
    groups = []
    for candidate in material.candidates:
        rows = []
        for key in FOREST:
            entry = material.difference(candidate, key)
            seeds = material.seed_differences(candidate, key)
            if entry and seeds:
                bounds = [None if entry.get(end) is None else 100 * entry[end] for end in ("low", "high")]
                name = METRICS[key].name
                rows.append(
                    DotRow(
                        name=name if METRICS[key].percent or "IoU" in name else f"Mean IoU, {name}",
                        key=key,
                        seeds={seed: 100 * value for seed, value in seeds.items()},
                        mean=100 * entry["mean"],
                        low=bounds[0],
                        high=bounds[1],
                    )
                )
        if rows:
            groups.append(Dots(key="difference", candidate=candidate, rows=rows))
    return groups


def class_differences(material: Material) -> list[Dots]:
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
            groups.append(Dots(key="per_class", candidate=candidate, rows=sorted(rows, key=lambda row: -row.mean)))
    return groups


def moving_average(points: Curve) -> Curve:
    """Return the curve with each value replaced by the mean of its neighbourhood (see `window`), shorter at the ends."""
    half, last = window(len(points)) // 2, len(points) - 1
    sums = [0.0, *accumulate(value for _, value in points)]
    smooth = []
    for index, (step, _) in enumerate(points):
        reach = min(half, index, last - index)  # symmetric up to the ends, so that a slope is not bent there
        smooth.append((step, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return smooth


def window(count: int) -> int:
    """Return how many points a moving average takes in: a twentieth of the curve, an odd number."""
    return max(1, count // 20) // 2 * 2 + 1


def thin(points: Curve) -> Curve:
    """Return at most about `POINTS` points of a curve, always with its last."""
    stride = -(-len(points) // POINTS)
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


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
    return {float(x): scale * value for x, value in sorted(found.items(), key=lambda item: float(item[0])) if value is not None}
