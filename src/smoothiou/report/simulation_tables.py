"""The tables of a simulation, and its result in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smoothiou.report.metric import NOTHING
from smoothiou.report.table import Cell, Row, Table

ALL_CASES = 1_715_000
POINTS = (50, 100, 160, 200)
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
EARLY = (10, 20, 50, 100, 200)

Result = Mapping[str, Any]


def of_kind(results: Sequence[Result], kind: str, gradients: str | None = None) -> list[Result]:
    """Return the results of the regression experiment (of one kind of gradients) or of real boxes."""
    return [
        result
        for result in results
        if result["kind"] == kind and (gradients is None or result["gradients"] == gradients)
    ]


def colours(results: Sequence[Result]) -> list[str]:
    """Return the losses in their order; a mended variant comes last, so that the others keep their colours."""
    names = list(dict.fromkeys(result["loss"] for result in results))
    return sorted(names, key=lambda name: name == "giou-clamped")


def millions(result: Result) -> list[float]:
    """Return the summed error over the steps in millions, scaled to the paper's number of cases."""
    return [ALL_CASES / 1e6 * error for error in result["error"]]


def regression_table(results: Sequence[Result]) -> Table:
    """Return what became of the paper's cases: error left after some steps, its sum, and overlap at the end."""
    columns = [f"error after {step}, millions" for step in POINTS]
    columns += ["sum over steps, millions", "mean IoU", "IoU > .5, %", "> .75, %", "> .9, %", "inverted boxes"]
    rows = []
    for result in of_kind(results, "regression"):
        error = millions(result)
        published = result["gradients"] == "published"
        cells = []
        for step in POINTS:
            read_off = PICTURE.get((result["loss"], step), "") if published else ""
            cells.append(Cell(_short(error[step]), f"picture {read_off}" if read_off else "", value=error[step]))
        total = sum(error[1:])
        cells.append(Cell(f"{total:.0f}", value=total))
        cells.append(Cell(f"{result['mean_iou'][-1]:.3f}", value=result["mean_iou"][-1]))
        cells += [
            Cell(f"{100 * result['above'][key][-1]:.1f}", value=result["above"][key][-1]) for key in result["above"]
        ]
        inverted = max(result["inverted"])
        cells.append(Cell(str(result["inverted"][-1]), f"at most {inverted}" if inverted else "", value=inverted))
        name = f"{result['loss']}, {'published code' if published else 'exact'}"
        rows.append(Row(name, cells, result["loss"], "difference" if published else ""))
    counts = {result["cases"] for result in of_kind(results, "regression")}
    notes = [
        "Error: |dx| + |dy| + |dw| + |dh|, summed over all cases. Inverted: width or height below 0, at the end and "
        "at any step counted (every fifth).",
        f"Picture: read off {SOURCE}.",
    ]
    if counts != {ALL_CASES}:
        shown = " and ".join(f"{count:,}" for count in sorted(counts))
        notes.append(f"Computed on {shown} cases; errors are scaled to the paper's {ALL_CASES:,}, boxes are not.")
    return Table("regression", "The paper's experiment", "loss, gradients", columns, rows, notes)


def boxes_table(results: Sequence[Result]) -> Table:
    """Return what became of codes that began at anchors around real boxes."""
    columns = ["factor on the loss", *(f"mean IoU after {step}" for step in EARLY)]
    columns += ["IoU > .5, %", "> .75, %", "> .9, %", "L1 of codes", "mean IoU at a quarter", "at four times"]
    rows = []
    for result in of_kind(results, "boxes"):
        run = result["speeds"]["1"]
        cells = [Cell(f"{result['factor']:.3g}", value=result["factor"])]
        cells += [Cell(f"{run['mean_iou'][step]:.3f}", value=run["mean_iou"][step]) for step in EARLY]
        cells += [Cell(f"{100 * shares[-1]:.1f}", value=shares[-1]) for shares in run["above"].values()]
        cells.append(Cell(f"{run['error'][-1]:.3f}", value=run["error"][-1]))
        for speed in ("0.25", "4"):
            other = result["speeds"].get(speed)
            cells.append(
                Cell(f"{other['mean_iou'][-1]:.3f}", value=other["mean_iou"][-1])
                if other
                else Cell(NOTHING, "diverged")
            )
        rows.append(Row(result["loss"], cells, result["loss"]))
    notes = [
        "L1: |z| summed over the four codes (weights 10, 10, 5, 5), mean over cases. At a quarter, at four times: mean "
        "IoU at the end when every step is so much shorter or longer.",
    ]
    return Table("boxes", "Real boxes in the encoded frame", "loss", columns, rows, notes)


def sentence(results: Sequence[Result]) -> str:
    """Return what the results say, in a sentence or two."""
    left = {(result["loss"], result["gradients"]): millions(result)[-1] for result in of_kind(results, "regression")}
    area = {(key["loss"], key["gradients"]): sum(millions(key)[1:]) for key in of_kind(results, "regression")}
    parts = []
    if ("giou", "published") in left and ("giou", "exact") in left:
        parts.append(
            f"With the published code's gradients GIoU ends with an error of {_short(left['giou', 'published'])} "
            f"million; with GIoU's own, {_short(left['giou', 'exact'])}."
        )
    if ("diou", "exact") in left and ("giou", "exact") in left:
        giou, diou = area["giou", "exact"], area["diou", "exact"]
        ahead = "GIoU, not DIoU, is ahead" if giou < diou else "DIoU is ahead of GIoU"
        parts.append(f"With exact gradients {ahead} over all steps ({giou:.0f} against {diou:.0f} million).")
    real = of_kind(results, "boxes")
    if real:
        best = {at: max(real, key=lambda result: result["speeds"]["1"]["mean_iou"][at]) for at in (10, 50, 200)}
        told = ", ".join(
            f"{best[at]['loss']} leads after {at} steps ({best[at]['speeds']['1']['mean_iou'][at]:.3f})" for at in best
        )
        parts.append(f"On real boxes, mean IoU: {told}.")
    return " ".join(parts) or f"{len(results)} simulation{'s' * (len(results) != 1)} of box losses."


def text_table(table: Table) -> str:
    """Return a table for a terminal."""
    heads = [table.corner, *table.columns]
    lines = [[row.head, *(f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row.cells)]
             for row in table.rows]  # fmt: skip
    # A column's head stands in as many lines as it has words, so that the numbers stay close.
    words = [head.split(" ") for head in heads]
    depth = max(map(len, words))
    tops = [[""] * (depth - len(own)) + own for own in words]
    widths = [
        max(len(text) for text in (*top, *column)) for top, column in zip(tops, zip(*lines, strict=True), strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join((first, *others)).rstrip()

    return "\n".join(
        [table.caption, "", *(line(row) for row in zip(*tops, strict=True)), *(line(row) for row in lines)]
    )


def _short(value: float) -> str:
    """Return a number of millions with as many decimals as it needs: 3.34, 0.024, 0.0041."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"
