"""The page of `smoothiou simulate`, drawn from result files alone."""

from __future__ import annotations

import csv
import io
import itertools
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import Normalize

from smoothiou.files import read_json, write_text
from smoothiou.manifest import version
from smoothiou.report.figures import swatch
from smoothiou.report.page import render
from smoothiou.report.simulation_figures import ERROR_NORM, Curve, draw_basin, draw_curves, draw_grid, draw_scale
from smoothiou.report.simulation_tables import (
    ALL_CASES,
    Result,
    boxes_table,
    colours,
    millions,
    of_kind,
    regression_table,
    sentence,
)

Figure = tuple[str, Markup]
SMALL, LARGE = (340, 230), (460, 310)
PER_PANEL = 7
IOU, STEPS = Normalize(0.5, 1), Normalize(0, 120)


def write_simulation(folders: Sequence[Path], out: str | Path, *, command: Sequence[str] = ()) -> list[Path]:
    """Write simulation.html and simulation.csv into a folder.

    Args:
        folders: of the results (see `lab.keep`), in the order in which they are shown.
        out: the folder.
        command: that made them, for the page.

    Returns:
        The paths of page and table.

    Raises:
        DataError: a result cannot be read.
    """
    results = [{**read_json(folder / "result.json"), "folder": folder} for folder in folders]
    out = Path(out)
    write_text(out / "simulation.html", render_simulation(results, command=command))
    write_text(out / "simulation.csv", simulation_csv(results))
    return [out / "simulation.html", out / "simulation.csv"]


def simulation_csv(results: Sequence[Result]) -> str:
    """Return every curve as rows: kind, loss, gradients, speed, step, mean error per case, mean IoU, shares."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ("kind", "loss", "gradients", "speed", "step", "mean_error", "mean_iou", "above_0.5", "above_0.75", "above_0.9")
    )
    for result in results:
        for gradients, speed, run, counted in _runs(result):
            for step, (error, iou) in enumerate(zip(run["error"], run["mean_iou"], strict=True)):
                place = counted.get(step)
                shares = ["" if place is None else f"{shares[place]:.6g}" for shares in run["above"].values()]
                row = (result["kind"], result["loss"], gradients, speed, step, f"{error:.6g}", f"{iou:.6g}")
                writer.writerow((*row, *shares))
    return buffer.getvalue()


def _runs(result: Result) -> Iterator[tuple[str, str, Mapping[str, Any], dict[int, int]]]:
    """Yield (gradients, speed, curves, place of each counted step)."""
    if result["kind"] == "regression":
        yield result["gradients"], "1", result, {step: place for place, step in enumerate(result["counted"])}
        return
    for speed, run in result["speeds"].items():
        if run:
            yield "exact", speed, run, {step: step for step in range(len(run["error"]))}


def render_simulation(results: Sequence[Result], *, command: Sequence[str] = ()) -> str:
    """Return the page as one self-contained HTML text."""
    losses = colours(results)
    order = {loss: place for place, loss in enumerate(losses)}
    regression, real = of_kind(results, "regression"), of_kind(results, "boxes")
    context = {
        "version": version(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "losses": losses,
        "order": order,
        "swatch": _marked(swatch),
        "sentence": sentence(results),
        "facts": _facts(regression, real),
        "regression": regression_table(results) if regression else None,
        "cases": f"{ALL_CASES:,}",
        "both": len({result["gradients"] for result in regression}) == 2,
        "curves": _overview(regression, order),
        "pairs": _pairs(regression, order),
        "maps": _distance_maps(regression),
        "basins": _basins(regression),
        "scale": Markup(
            draw_scale("scale-error", title="Mean final error of a case", norm=ERROR_NORM, ticks=(0.01, 0.1, 1, 6))
        ),
        "matched": bool(real) and real[0]["match_gradient"],
        "boxes": boxes_table(results) if real else None,
        "box_curves": _box_curves(real, order),
        "box_maps": _box_maps(real) if real else [],
        "signatures": [(_name(result), result["signature"]) for result in results],
        "costs": [(_name(result), _cost(result)) for result in results],
        "machine": _machine(results),
        "command": shlex.join(map(str, command)),
    }
    return render("simulation.html.j2", **context)


def _marked(draw: Callable[[int], str]) -> Callable[[int], Markup]:
    return lambda order: Markup(draw(order))


def _name(result: Result) -> str:
    if result["kind"] == "boxes":
        return f"{result['loss']} on {result['source']}"
    return f"{result['loss']}, {'published code' if result['gradients'] == 'published' else 'exact'}"


def _cost(result: Result) -> str:
    text = f"{result['seconds']:.1f} s"
    if result["kind"] == "regression":
        text += f" in {result['workers']} process{'es' * (result['workers'] != 1)}"
        text += f", {result['case_steps_per_second'] / 1e6:.1f} million steps of a case per second"
    return text


def _overview(results: Sequence[Result], order: Mapping[str, int]) -> list[Figure]:
    """Return error and IoU over the steps, published beside exact in one scale, a few losses to a panel."""
    figures = []
    top = 1.03 * max((max(millions(result)) for result in results), default=1.0)
    for gradients, words in (("published", "the published code's gradients"), ("exact", "exact gradients")):
        chosen = of_kind(results, "regression", gradients)
        for number, start in enumerate(range(0, len(chosen), PER_PANEL)):
            part = chosen[start : start + PER_PANEL]
            more = f" ({', '.join(result['loss'] for result in part)})" if len(chosen) > PER_PANEL else ""
            for key, label, limits in (
                ("error", "error, millions", (0, top)),
                ("iou", "mean IoU", (0, 1.02)),
            ):
                title = f"{'Summed error' if key == 'error' else 'Mean IoU'}: {words}{more}"
                lines = [
                    Curve(
                        label=result["loss"],
                        order=order[result["loss"]],
                        values=millions(result) if key == "error" else result["mean_iou"],
                    )
                    for result in part
                ]
                name = f"{key}-{gradients}-{number}"
                drawn = draw_curves(lines, name, title=title, y_label=label, size=LARGE, y_limits=limits)
                figures.append((title, Markup(drawn)))
    return figures


def _pairs(results: Sequence[Result], order: Mapping[str, int]) -> list[Figure]:
    """Return, for each loss that has both, the published code's curve over its true one, on a logarithmic scale."""
    exact = {result["loss"]: result for result in results if result["gradients"] == "exact"}
    published = {result["loss"]: result for result in results if result["gradients"] == "published"}
    figures = []
    for loss in exact:
        if loss not in published:
            continue
        lines = [
            Curve(label="exact", order=order[loss], values=millions(exact[loss]), dash=0),
            Curve(label="published code", order=order[loss], values=millions(published[loss]), dash=1),
        ]
        mended = published.get(f"{loss}-clamped")
        if mended:
            name = f"{loss}-clamped"
            lines.append(Curve(label="published, clamped", order=order[name], values=millions(mended), dash=3))
        drawn = draw_curves(
            lines, f"pair-{loss}", title=f"{loss}: exact and published", y_label="error, millions", size=SMALL,
            log=True, y_limits=(0.002, 15),
        )  # fmt: skip
        figures.append((loss, Markup(drawn)))
    return figures


def _distance_maps(results: Sequence[Result]) -> list[Figure]:
    figures = []
    for number, result in enumerate(results):
        maps = result["maps"]
        edges = maps["distance_edges"]
        drawn = draw_grid(
            maps["error_by_distance_and_scale"], f"distance-{number}", title=_name(result),
            rows=[f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)],
            columns=[f"{scale:g}" for scale in maps["scales"]], row_label="distance of the centre",
            column_label="area of the anchor", norm=ERROR_NORM, form=".2f",
        )  # fmt: skip
        figures.append((_name(result), Markup(drawn)))
    return figures


def _basins(results: Sequence[Result]) -> list[Figure]:
    figures = []
    for number, result in enumerate(results):
        with np.load(result["folder"] / "arrays.npz") as arrays:
            points, error = arrays["points"], arrays["error_by_point"]
        drawn = draw_basin(points, error, f"basin-{number}", title=_name(result))
        figures.append((_name(result), Markup(drawn)))
    return figures


def _box_curves(results: Sequence[Result], order: Mapping[str, int]) -> list[Figure]:
    figures = []
    for key, title, label, log in (
        ("mean_iou", "Mean IoU", "mean IoU", False),
        ("0.9", "Boxes with IoU above .9", "share", False),
        ("0.75", "Boxes with IoU above .75", "share", False),
        ("error", "L1 error of the codes", "L1, code units", True),
    ):
        for number, start in enumerate(range(0, len(results), PER_PANEL)):
            lines = []
            for result in results[start : start + PER_PANEL]:
                run = result["speeds"]["1"]
                values = run[key] if key in run else run["above"][key]
                lines.append(Curve(label=result["loss"], order=order[result["loss"]], values=values))
            limits = None if log else (0.4, 1.01) if key == "mean_iou" else (0.0, 1.02)
            names = ", ".join(curve.label for curve in lines)
            shown = f"{title} ({names})" if len(results) > PER_PANEL else title
            drawn = draw_curves(
                lines, f"boxes-{key.replace('.', '').replace('_', '-')}-{number}", title=shown, y_label=label,
                size=LARGE, log=log, y_limits=limits,
            )  # fmt: skip
            figures.append((shown, Markup(drawn)))
    return figures


def _box_maps(results: Sequence[Result]) -> list[Figure]:
    """Return how many steps boxes need to an IoU of .9: a row per loss, by where they start, by size and by shape."""
    figures = []
    for kind, words, label, axis in (
        ("iou", "by the IoU of the anchor", "IoU of the anchor", 1),
        ("side", "by size", "side of the target, pixels", 0),
        ("ratio", "by shape", "width to height of the target", 0),
    ):
        source = "side" if kind == "iou" else kind
        rows = [
            _mean_over(result["maps"][f"steps_by_{source}"], result["maps"][f"counts_by_{source}"], axis)
            for result in reversed(results)
        ]
        title = f"Steps to an IoU of .9, {words}"
        drawn = draw_grid(
            rows, f"steps-{kind}", title=title, rows=[result["loss"] for result in reversed(results)],
            columns=_ranges(results[0]["maps"][f"{kind}_edges"]), row_label="", column_label=label, norm=STEPS,
            form=".0f",
        )  # fmt: skip
        figures.append((title, Markup(drawn)))
    return figures


def _mean_over(values: Any, counts: Any, axis: int) -> list[float | None]:
    """Return means over an axis of a table of means, each weighted by how many cases it is of."""
    numbers = np.array([[0.0 if value is None else value for value in row] for row in values])
    weights = np.array(counts, dtype=np.float64)
    totals = weights.sum(axis)
    means = np.divide((numbers * weights).sum(axis), totals, out=np.zeros_like(totals), where=totals > 0)
    return [float(mean) if total else None for mean, total in zip(means, totals, strict=True)]


def _ranges(edges: Sequence[float | None]) -> list[str]:
    """Return names of intervals; JSON has null for infinity."""
    names = []
    for low, high in itertools.pairwise(edges):
        if not low:
            names.append(f"< {high:.3g}")
        else:
            names.append(f"> {low:.3g}" if high is None else f"{low:.3g}–{high:.3g}")
    return names


def _facts(regression: Sequence[Result], real: Sequence[Result]) -> list[tuple[str, str]]:
    facts = []
    if regression:
        cases = " and ".join(f"{count:,}" for count in sorted({result["cases"] for result in regression}))
        facts += [("Cases", cases), ("Steps", "160 at rate .1, 20 at .01, 20 at .001")]
    if real:
        first = real[0]
        facts.append(("Real boxes", f"{first['boxes']:,} of {first['source']}, {first['cases']:,} anchors"))
        matched = "matched to Huber's" if first["match_gradient"] else "as the losses have it, times their weight"
        facts.append(("First gradient", matched))
    seeds = sorted({result["seed"] for result in (*regression, *real)})
    return [*facts, ("Seed", ", ".join(map(str, seeds)))]


def _machine(results: Sequence[Result]) -> list[tuple[str, str]]:
    found = [result["environment"] for result in results]
    rows = []
    for name in ("python", "torch", "numpy", "smoothiou"):
        values = dict.fromkeys(str(one["versions"].get(name, "unknown")) for one in found)
        rows.append((f"version of {name}", ", ".join(values)))
    for key in ("platform", "processor", "cores"):
        rows.append((key, ", ".join(dict.fromkeys(str(one.get(key, "unknown")) for one in found))))
    return rows
