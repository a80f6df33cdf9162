"""What a refinement probe found, as tables and figures: for its own page, and for the report of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from smoothiou.report.metric import KINDS, LOCALIZATION, NOTHING, Metric
from smoothiou.report.series import DotRow, Dots, Line, Panel, with_shared_limits
from smoothiou.report.table import Cell, Row, Table
from smoothiou.study.stats import UNDECIDED, verdict_in_words

Found = Mapping[str, Any]
"""What `experiment.paired.compare_probes` gives, from a file."""

REFINED = tuple(metric for metric in LOCALIZATION if metric.key.startswith("refined"))
MEAN = REFINED[0]
CURVE, SHARES = "refined_from_", "refined_above_"
ONE_SEED = "one seed proves nothing"
BANDS = 4
"""Most lines of a figure that still have their bands: more would hide each other."""


def ranked(found: Found) -> list[str]:
    """Return the groups with the highest mean IoU after refinement first."""
    return sorted(found["groups"], key=lambda name: -_mean(found, name, MEAN.key))


def in_order(found: Found) -> list[str]:
    """Return the groups, the baseline first: the place decides colour, dash and marker."""
    return [found["baseline"], *(name for name in found["groups"] if name != found["baseline"])]


def difference(found: Found, candidate: str, metric: str) -> dict[str, Any] | None:
    """Return the paired difference of a candidate in a metric, or None where there is no pair."""
    for entry in found["differences"]:
        if entry["candidate"] == candidate and entry["metric"] == metric:
            return entry
    return None


def verdict(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the verdict of a difference in words, and its kind; of one pair it speaks of the images alone."""
    if entry["n"] >= 2 or entry["verdict"] == UNDECIDED:
        return verdict_in_words(entry), KINDS[entry["verdict"]]
    return f"{entry['verdict']} on these boxes, but {ONE_SEED}", "unknown"


def refined_table(found: Found) -> Table:
    """Return how tight the boxes of each group come out, tightest first."""
    rows = []
    for name in ranked(found):
        cells = []
        for metric in REFINED:
            values = _values(found, name, metric.key)
            spread = f"± {metric.format(stdev(values))}" if len(values) > 1 else ""
            mean = fmean(values) if values else None
            cells.append(Cell(metric.format(mean), spread, value=mean))
        rows.append(Row(name, cells, name, "loss"))
    columns = ["mean IoU after", "> .75", "> .85", "> .9"]
    note = (
        "Mean over seeds, its standard deviation beneath. Mean IoU of the refined boxes with their truths, then the "
        f"share of them above an IoU, in %. {probe_words(found)}"
    )
    return Table("refined", "How tight the boxes come out", "loss", columns, rows, [note])


def probe_words(found: Found) -> str:
    """Return what the probes are, in a sentence."""
    first = next(iter(next(iter(found["groups"].values())).values()))
    low, high = found["probe"]["iou"]
    return (
        f"{first['probes']} boxes, {found['probe']['per_box']} for each truth box: it is shifted and scaled at random "
        f"to an IoU of {low:g} to {high:g}, spread evenly (mean {first['mean_before']:.4f}), and refined once by the "
        "second stage with the true class. All runs get the same boxes."
    )


def refinement_table(found: Found) -> Table:
    """Return the paired differences to the baseline with both intervals and the verdict, largest gain first.

    Without rows where there is no probe, or nothing to compare.
    """
    rows = []
    for name in ranked(found) if found else []:
        entry = difference(found, name, MEAN.key)
        if entry is None:
            continue
        words, kind = verdict(entry)
        cells = [
            Cell(MEAN.format(entry["mean"], signed=True), value=entry["mean"]),
            Cell(MEAN.interval(entry), value=entry["low"]),
            Cell(MEAN.interval(entry["images"]), value=entry["images"]["low"]),
            Cell(f"{entry['wins']} of {entry['n']}", value=entry["wins"]),
            Cell(words, kind=kind),
            *(_share(difference(found, name, metric.key), metric) for metric in REFINED[1:]),
        ]
        rows.append(Row(name, cells, name))
    columns = [
        "mean IoU", "95% over seeds", "95% over images", "seeds won", "verdict",
        *(f"points {metric.name.removeprefix('refined ')}" for metric in REFINED[1:]),
    ]  # fmt: skip
    note = (
        "Differences box by box, averaged over seeds. Over seeds: Student's interval of the paired differences. Over "
        "images: the test images drawn anew with replacement, all boxes of an image together. Better or worse is said "
        "only where both leave out zero. Beneath the shares stands their interval over images."
    )
    caption = f"Refined boxes against {found['baseline']}" if found else ""
    return Table("refinement", caption, "loss", columns, rows, [note])


def _share(entry: Mapping[str, Any] | None, metric: Metric) -> Cell:
    if entry is None:
        return Cell(NOTHING)
    kind = KINDS[entry["verdict"]] if entry["n"] > 1 else ""
    text = metric.format(entry["mean"], signed=True)
    return Cell(text, metric.interval(entry["images"]), value=entry["mean"], kind=kind)


def ranking_dots(found: Found) -> list[Dots]:
    """Return the differences in mean IoU as a dot plot with a row for each loss, largest gain first."""
    rows = []
    for name in ranked(found):
        entry = difference(found, name, MEAN.key)
        if entry:
            ends = [None if entry[end] is None else 100 * entry[end] for end in ("low", "high")]
            seeds = {seed: 100 * gain for seed, gain in zip(entry["seeds"], entry["pairs"], strict=True)}
            rows.append(
                DotRow(
                    name=name, key=name, seeds=seeds, mean=100 * entry["mean"], low=ends[0], high=ends[1], loss=name
                )
            )  # fmt: skip
    if not rows:
        return []
    title = f"Mean IoU after refinement, minus {found['baseline']}"
    label = f"hundredths of IoU, minus {found['baseline']}"
    return with_shared_limits(
        [Dots(key="refined_ranking", title=title, candidate=rows[0].loss, rows=rows, label=label)]
    )


def refinement_panels(found: Found) -> list[Panel]:
    """Return IoU after against IoU before, the same as paired differences, and the gain at each threshold."""
    baseline, width = found["baseline"], 0.05
    names = in_order(found)
    curves = [line for name in names if (line := _absolute(found, name, CURVE, 1, shift=width / 2))]
    panels = [
        Panel(
            key="refined_curve", title="IoU after, against IoU before", x_label="IoU before", y_label="IoU after",
            lines=_with_bands(curves), markers=True,
        )
    ]  # fmt: skip
    for key, column, title, x_label, y_label, shift in (
        (
            "refined_curve_difference",
            CURVE,
            f"The same, minus {baseline}",
            "IoU before",
            "hundredths of IoU",
            width / 2,
        ),
        ("refined_shares_difference", SHARES, f"Share above an IoU, minus {baseline}", "IoU after", "points", 0.0),
    ):
        lines = [line for name in names[1:] if (line := _relative(found, name, column, shift=shift))]
        if lines:
            panels.append(
                Panel(
                    key=key, title=title, x_label=x_label, y_label=y_label, lines=_with_bands(lines), zero_line=True,
                    markers=True,
                )
            )  # fmt: skip
    return [panel for panel in panels if panel.lines]


def convergence_panels(cells: list[Mapping[str, Any]], names: list[str]) -> list[Panel]:
    """Return how regressors were trained: mean IoU on the test boxes and on those learnt from, against the step."""
    panels = []
    for key, title in (("test", "Test boxes"), ("train", "Boxes learnt from, as predicted in training")):
        lines = []
        for name in names:
            curves = [
                {point["step"]: point[key] for point in cell["curve"] if point[key] is not None and point["step"]}
                for cell in cells
                if cell["loss"] == name
            ]
            if line := _line(name, [curve for curve in curves if curve]):
                lines.append(line)
        if lines:
            panels.append(
                Panel(
                    key=f"refit_{key}", title=title, x_label="step", y_label="mean IoU", lines=_with_bands(lines),
                    markers=True,
                )
            )  # fmt: skip
    return panels


def _with_bands(lines: list[Line]) -> list[Line]:
    """Return the lines, without their bands where there are too many."""
    return lines if len(lines) <= BANDS else [replace(line, seeds=1) for line in lines]


def _absolute(found: Found, name: str, column: str, scale: float, *, shift: float) -> Line | None:
    metrics = [metric for metric in found["metrics"] if metric.startswith(column)]
    runs = [
        {_place(metric) + shift: scale * run[metric] for metric in metrics if run.get(metric) is not None}
        for run in found["groups"][name].values()
    ]
    return _line(name, runs)


def _relative(found: Found, name: str, column: str, *, shift: float) -> Line | None:
    entries = [
        entry for entry in found["differences"] if entry["candidate"] == name and entry["metric"].startswith(column)
    ]
    pairs = len(entries[0]["pairs"]) if entries else 0
    return _line(
        name,
        [{_place(entry["metric"]) + shift: 100 * entry["pairs"][pair] for entry in entries} for pair in range(pairs)],
    )


def _line(name: str, runs: list[dict[float, float]]) -> Line | None:
    steps = sorted({x for run in runs for x in run})
    groups = [[run[x] for run in runs if x in run] for x in steps]
    if not steps:
        return None
    return Line(
        loss=name,
        x=steps,
        mean=[fmean(group) for group in groups],
        low=[min(group) for group in groups],
        high=[max(group) for group in groups],
        seeds=len(runs),
    )


def _place(metric: str) -> float:
    return int(metric.rsplit("_", 1)[1]) / 100


def _values(found: Found, name: str, metric: str) -> list[float]:
    return [run[metric] for run in found["groups"][name].values() if run.get(metric) is not None]


def _mean(found: Found, name: str, metric: str) -> float:
    values = _values(found, name, metric)
    return fmean(values) if values else 0.0
