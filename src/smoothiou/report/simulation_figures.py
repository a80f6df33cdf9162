"""The figures of a simulation: curves over steps, and maps of what is left, in one scale for all losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.cm as colour_maps
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from smoothiou.report.figures import DASHES, MARKERS
from smoothiou.report.svg import GROUND, INK, drawing, inline, loss_colour, new_figure

MAP = "viridis"
ERROR_NORM = LogNorm(0.01, 6, clip=True)
RADIUS = 3.0
PIXELS = 32
"""Side of a basin map; about six of the 5,000 centres fall into a pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line over the steps.

    Args:
        label: what it is, for the description.
        order: place in the list of losses; decides the colour.
        values: after 0, 1, 2, ... steps.
        dash: index of the dash; None: by the order.
    """

    label: str
    order: int
    values: Sequence[float]
    dash: int | None = None


def draw_curves(
    curves: Sequence[Curve],
    name: str,
    *,
    title: str,
    y_label: str,
    size: tuple[float, float],
    log: bool = False,
    y_limits: tuple[float, float] | None = None,
) -> str:
    """Return lines over the steps as inline SVG.

    Args:
        curves: the lines.
        name: unique in the page; letters, digits and hyphens.
        title: of the figure.
        y_label: of the axis.
        size: width and height in CSS pixels at scale 1.
        log: whether the axis is logarithmic.
        y_limits: None: what the lines need.
    """
    with drawing(name):
        figure = new_figure(*size)
        axes = figure.add_subplot()
        for curve in curves:
            steps = range(len(curve.values))
            spacing = max(1, len(curve.values) // 5)
            mark = curve.order % len(MARKERS)
            axes.plot(
                steps,
                [value if value > 0 or not log else math.nan for value in curve.values],
                color=loss_colour(curve.order),
                linestyle=DASHES[(curve.order if curve.dash is None else curve.dash) % len(DASHES)],
                marker=MARKERS[mark],
                markevery=((curve.order * spacing // 3) % spacing, spacing),
                markeredgecolor=GROUND,
                markeredgewidth=0.6,
            )
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # texts are not read as mathematics here
        elif y_limits is None:
            axes.set_ylim(0)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        if not log:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("step")
        axes.set_ylabel(y_label)
        ends = "; ".join(
            f"{curve.label} from {curve.values[0]:.4g} to {curve.values[-1]:.4g} after {len(curve.values) - 1} steps"
            for curve in curves
        )
        return inline(figure, name, title=title, description=f"{title}: {ends}.")


def draw_basin(points: np.ndarray, values: np.ndarray, name: str, *, title: str) -> str:
    """Return a map of the final error over the anchor's centre, the target being in the middle, as inline SVG.

    Args:
        points: (P, 2) centres within 3 of the target's.
        values: (P,) mean final error of each centre's cases.
        name: unique in the page.
        title: of the figure.
    """
    edges = np.linspace(-RADIUS, RADIUS, (PIXELS if len(points) > 2000 else PIXELS // 2) + 1)
    sums, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=(edges, edges), weights=values)
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=(edges, edges))
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    with drawing(name):
        figure = new_figure(250, 230)
        axes = figure.add_subplot()
        axes.grid(visible=False)
        extent = (-RADIUS, RADIUS, -RADIUS, RADIUS)
        # Pixels stay pixels: at twenty times their number the file is still small, and no viewer blurs them.
        means = means.repeat(6, axis=0).repeat(6, axis=1)
        axes.imshow(means, cmap=MAP, norm=ERROR_NORM, extent=extent, origin="lower", interpolation="none")
        axes.plot([-0.5, 0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5, -0.5], color="#ffffff", linewidth=1.2)
        axes.set_xticks([-3, 0, 3])
        axes.set_yticks([-3, 0, 3])
        for spine in axes.spines.values():
            spine.set_visible(False)
        rings = [(low, values[(distance(points) >= low) & (distance(points) < low + 1)]) for low in (0, 1, 2)]
        told = "; ".join(f"{low} to {low + 1} away {ring.mean():.3g}" for low, ring in rings if len(ring))
        return inline(figure, name, title=title, description=f"{title}: mean final error {told}.")


def distance(points: np.ndarray) -> np.ndarray:
    """Return the distances (P,) of points (P, 2) from the target's centre."""
    return np.hypot(points[:, 0], points[:, 1])


def draw_grid(
    values: Sequence[Sequence[float | None]],
    name: str,
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    norm: Normalize,
    form: str,
) -> str:
    """Return a table of numbers as coloured fields, the first row at the bottom, as inline SVG.

    Args:
        values: rows of numbers; None where there is none.
        name: unique in the page.
        title: of the figure.
        rows: name of each row.
        columns: name of each column.
        row_label: what rows are.
        column_label: what columns are.
        norm: which number has which colour.
        form: how a number is written, for `format`.
    """
    numbers = np.array([[math.nan if value is None else value for value in row] for row in values])
    with drawing(name):
        figure = new_figure(60 + 40 * len(columns), 54 + 18 * len(rows))
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.pcolormesh(numbers, cmap=MAP, norm=norm, edgecolors=GROUND, linewidth=0.6)
        for (row, column), value in np.ndenumerate(numbers):
            if not math.isnan(value):
                _number(axes, row, column, value, norm, form)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.tick_params(length=0, labelsize=9)
        axes.set_xlabel(column_label)
        axes.set_ylabel(row_label)
        for spine in axes.spines.values():
            spine.set_visible(False)
        told = "; ".join(
            f"{row_label} {row}: " + ", ".join("-" if value is None else format(value, form) for value in line)
            for row, line in zip(rows, values, strict=True)
        )
        return inline(figure, name, title=title, description=f"{title}, by {column_label}. {told}.")


def _number(axes: Axes, row: int, column: int, value: float, norm: Normalize, form: str) -> None:
    red, green, blue, _ = mpl.colormaps[MAP](norm(value))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    text = format(value, form)
    axes.text(
        column + 0.5, row + 0.47, text.removeprefix("0") if text.startswith("0.") else text,
        ha="center", va="center", fontsize=8.5, color="#111111" if bright else "#ffffff",
    )  # fmt: skip


def draw_scale(name: str, *, title: str, norm: Normalize, ticks: Sequence[float]) -> str:
    """Return the legend of a map: which number has which colour, as inline SVG."""
    with drawing(name):
        figure = new_figure(420, 46)
        axes = figure.add_subplot()
        bar: Any = figure.colorbar(colour_maps.ScalarMappable(norm=norm, cmap=MAP), cax=axes, orientation="horizontal")
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
        bar.outline.set_edgecolor(INK)
        bar.outline.set_linewidth(0.5)
        return inline(figure, name, title=title, description=f"{title}: from {ticks[0]:g} to {ticks[-1]:g}.")
