"""The page of `smoothiou simulate`: a table and a figure for each experiment, and the result in a sentence."""

from __future__ import annotations

import csv
import io
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from smoothiou.files import write_text
from smoothiou.manifest import environment, version
from smoothiou.report.figures import draw_panel, swatch
from smoothiou.report.metric import NOTHING
from smoothiou.report.page import render
from smoothiou.report.series import Line, Panel
from smoothiou.report.table import Cell, Row, Table

Result = Mapping[str, Any]

PAPER_CASES = 1_715_000
STEPS = (50, 100, 160, 200)
PICTURE = {
    ("iou", 200): "5.91",
    ("giou", 50): "3.35",
    ("giou", 160): "1.87",
    ("giou", 200): "1.51",
    ("diou", 200): "< .02",
    ("ciou", 200): "< .02",
}
"""Summed error in millions, read off the picture of curves that was published with the code."""
SOURCE = "github.com/Zzh-tju/DIoU, simulation_examples/regression_error_sum_curves.png"
EARLY_STEPS = (10, 20, 50, 100, 200)
FIGURE_SIZE = (460, 310)


def write_simulation(results: Sequence[Result], out: str | Path, *, command: Sequence[str] = ()) -> list[Path]:
    """Write simulation.html and simulation.csv into a folder, and return their paths.

    Args:
        results: of `lab.simulation.simulate_all`, in the order in which they are shown.
        out: the folder.
        command: that made them, for the page.
    """
    page, table = Path(out) / "simulation.html", Path(out) / "simulation.csv"
    write_text(page, render_simulation(results, command=command))
    write_text(table, simulation_csv(results))
    return [page, table]


def simulation_csv(results: Sequence[Result]) -> str:
    """Return every curve as rows: kind, loss, gradients, speed, step, mean error per case, mean IoU, shares."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    shares = ("above_0.5", "above_0.75", "above_0.9")
    writer.writerow(("kind", "loss", "gradients", "speed", "step", "mean_error", "mean_iou", *shares))
    for result in results:
        for gradients, speed, trace in _traces(result):
            columns = (trace["error"], trace["mean_iou"], *trace["above"].values())
            for step, numbers in enumerate(zip(*columns, strict=True)):
                texts = (f"{number:.6g}" for number in numbers)
                writer.writerow((result["kind"], result["loss"], gradients, speed, step, *texts))
    return buffer.getvalue()


def _traces(result: Result) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    if result["kind"] == "regression":
        yield result["gradients"], "1", result
    else:
        yield from (("exact", speed, trace) for speed, trace in result["speeds"].items() if trace)


def render_simulation(results: Sequence[Result], *, command: Sequence[str] = ()) -> str:
    """Return the page as one self-contained HTML text."""
    # A corrected variant comes last, so that the others keep their colours.
    losses = sorted(dict.fromkeys(result["loss"] for result in results), key="giou-clamped".__eq__)
    regression, real = of_kind(results, "regression"), of_kind(results, "boxes")
    machine = environment()
    return render(
        "simulation.html.j2",
        version=version(),
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        losses=losses,
        order={loss: index for index, loss in enumerate(losses)},
        swatch=lambda order: Markup(swatch(order)),
        sentence=sentence(results),
        facts=_facts(regression, real),
        regression=regression_table(results) if regression else None,
        both=len({result["gradients"] for result in regression}) == 2,
        curves=[(panel.title, _draw(panel, losses)) for panel in _error_panels(regression)],
        matched=bool(real) and real[0]["match_gradient"],
        boxes=boxes_table(results) if real else None,
        box_curves=[(panel.title, _draw(panel, losses)) for panel in _iou_panels(real)],
        signatures=[result["signature"] for result in results],
        seconds=sum(result["seconds"] for result in results),
        machine=[
            *((f"version of {name}", str(value)) for name, value in machine["versions"].items()),
            *((key, str(machine.get(key, "unknown"))) for key in ("platform", "processor", "cores")),
        ],
        command=shlex.join(map(str, command)),
    )


def of_kind(results: Sequence[Result], kind: str) -> list[Result]:
    """Return the results of the regression experiment (`regression`) or of real boxes (`boxes`)."""
    return [result for result in results if result["kind"] == kind]


def millions(result: Result) -> list[float]:
    """Return the summed error over the steps in millions, scaled to the paper's number of cases."""
    return [PAPER_CASES / 1e6 * error for error in result["error"]]


def regression_table(results: Sequence[Result]) -> Table:
    """Return what became of the paper's cases: error left after some steps, its sum, and overlap at the end."""
    columns = [f"error after {step}, millions" for step in STEPS]
    columns += ["sum over steps, millions", "mean IoU", "IoU > .5, %", "> .75, %", "> .9, %", "inverted, %"]
    rows, counts = [], set()
    for result in of_kind(results, "regression"):
        error, published = millions(result), result["gradients"] == "published"
        total, counts = sum(error[1:]), counts | {result["cases"]}
        cells = []
        for step in STEPS:
            picture = PICTURE.get((result["loss"], step), "") if published else ""
            cells.append(Cell(_short(error[step]), f"picture {picture}" if picture else "", value=error[step]))
        cells += [Cell(f"{total:.0f}", value=total), _number(result["mean_iou"][-1])]
        cells += [_percent(fractions[-1]) for fractions in result["above"].values()]
        cells.append(_percent(result["inverted"][-1] / result["cases"]))
        name = f"{result['loss']}, {'published code' if published else 'exact'}"
        rows.append(Row(name, cells, result["loss"], "difference" if published else ""))
    notes = [
        "Error: |dx| + |dy| + |dw| + |dh|, summed over all cases. Inverted: width or height below 0.",
        f"Picture: read off {SOURCE}.",
        f"Computed on {' and '.join(f'{count:,}' for count in sorted(counts))} cases; errors are scaled to the "
        f"paper's {PAPER_CASES:,}.",
    ]
    return Table("regression", "The paper's experiment", "loss, gradients", columns, rows, notes)


def boxes_table(results: Sequence[Result]) -> Table:
    """Return what became of deltas that began at anchors around real boxes."""
    columns = ["factor on the loss", *(f"mean IoU after {step}" for step in EARLY_STEPS)]
    columns += ["IoU > .5, %", "> .75, %", "> .9, %", "L1 of deltas", "mean IoU at a quarter", "at four times"]
    rows = []
    for result in of_kind(results, "boxes"):
        trace = result["speeds"]["1"]
        cells = [Cell(f"{result['factor']:.3g}", value=result["factor"])]
        cells += [_number(trace["mean_iou"][step]) for step in EARLY_STEPS]
        cells += [_percent(fractions[-1]) for fractions in trace["above"].values()]
        cells.append(_number(trace["error"][-1]))
        for speed in ("0.25", "4"):
            other = result["speeds"].get(speed)
            cells.append(_number(other["mean_iou"][-1]) if other else Cell(NOTHING, "diverged"))
        rows.append(Row(result["loss"], cells, result["loss"]))
    note = (
        "L1: |z| summed over the four deltas (weights 10, 10, 5, 5), mean over cases. At a quarter, at four times: "
        "mean IoU at the end when every step is so much shorter or longer."
    )
    return Table("boxes", "Real boxes in the encoded frame", "loss", columns, rows, [note])


def sentence(results: Sequence[Result]) -> str:
    """Return what the results say, in a sentence or two."""
    error = {(result["loss"], result["gradients"]): millions(result) for result in of_kind(results, "regression")}
    giou, published, diou = (error.get(key) for key in (("giou", "exact"), ("giou", "published"), ("diou", "exact")))
    parts = []
    if giou and published:
        parts.append(
            f"With the published code's gradients GIoU ends with an error of {_short(published[-1])} million; with "
            f"GIoU's own, {_short(giou[-1])}."
        )
    if giou and diou:
        sums = sum(giou[1:]), sum(diou[1:])
        ahead = "GIoU, not DIoU, is ahead" if sums[0] < sums[1] else "DIoU is ahead of GIoU"
        parts.append(f"With exact gradients {ahead} over all steps ({sums[0]:.0f} against {sums[1]:.0f} million).")
    real = of_kind(results, "boxes")
    if real:
        best = {step: max(real, key=lambda result: result["speeds"]["1"]["mean_iou"][step]) for step in (10, 50, 200)}
        leads = ", ".join(
            f"{result['loss']} leads after {step} steps ({result['speeds']['1']['mean_iou'][step]:.3f})"
            for step, result in best.items()
        )
        parts.append(f"On real boxes, mean IoU: {leads}.")
    return " ".join(parts) or f"{len(results)} simulation{'s' * (len(results) != 1)} of box losses."


def _error_panels(results: Sequence[Result]) -> Iterator[Panel]:
    for gradients, title in (("published", "The published code's gradients"), ("exact", "Exact gradients")):
        lines = [_line(result["loss"], millions(result)) for result in results if result["gradients"] == gradients]
        if lines:
            yield Panel(
                key=f"error-{gradients}", title=title, x_label="step", y_label="summed error, millions", lines=lines
            )


def _iou_panels(results: Sequence[Result]) -> Iterator[Panel]:
    lines = [_line(result["loss"], result["speeds"]["1"]["mean_iou"]) for result in results]
    if lines:
        yield Panel(key="boxes-iou", title="Mean IoU of real boxes", x_label="step", y_label="mean IoU", lines=lines)


def _line(loss: str, values: Sequence[float]) -> Line:
    numbers = list(values)
    return Line(loss=loss, x=[float(k) for k in range(len(numbers))], mean=numbers, low=numbers, high=numbers, seeds=1)


def _draw(panel: Panel, losses: list[str]) -> Markup:
    return Markup(draw_panel(panel, losses, size=FIGURE_SIZE))


def _facts(regression: Sequence[Result], real: Sequence[Result]) -> list[tuple[str, str]]:
    facts = []
    if regression:
        facts += [("Cases", f"{regression[0]['cases']:,}"), ("Steps", "160 at rate .1, 20 at .01, 20 at .001")]
    if real:
        first = real[0]
        facts.append(("Real boxes", f"{first['boxes']:,} of {first['source']}, {first['cases']:,} anchors"))
        matched = "matched to Huber's" if first["match_gradient"] else "as the losses have it, times their weight"
        facts.append(("First gradient", matched))
    return [*facts, ("Seed", str((*regression, *real)[0]["seed"]))]


def _number(value: float) -> Cell:
    return Cell(f"{value:.3f}", value=value)


def _percent(fraction: float) -> Cell:
    return Cell(f"{100 * fraction:.1f}", value=fraction)


def _short(value: float) -> str:
    """Return a number of millions with as many decimals as it needs: 3.34, 0.024, 0.0041."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"
