"""Every figure of a report, drawn from `series`: colours that follow the page, marks that need no colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from smoothiou.report.series import Dots, Line, Panel
from smoothiou.report.svg import PALETTE_SIZE, drawing, grid, ground, ink, inline, loss_colour, new_figure

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1.2, 2)), (0, (1.2, 1.6)), (0, (9, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LEGEND_MARKS = {
    "o": '<circle cx="17" cy="6" r="4"/>',
    "s": '<rect x="13.5" y="2.5" width="7" height="7"/>',
    "^": '<path d="M17 1.5l4.5 8.5h-9z"/>',
    "D": '<path d="M17 1l5 5-5 5-5-5z"/>',
    "v": '<path d="M17 10.5l4.5-8.5h-9z"/>',
    "P": '<path d="M15.5 1.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"/>',
    "X": '<path d="M14 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z"/>',
}


def draw_panel(panel: Panel, losses: Sequence[str], *, size: tuple[float, float]) -> str:
    """Return a panel as inline SVG.

    Args:
        panel: its lines and axes.
        losses: all losses of the study, baseline first; the position decides colour, dash and marker.
        size: width and height in CSS pixels at scale 1.
    """
    name = f"figure-{panel.key.replace('_', '-')}".lower()
    with drawing(name):
        figure = panel_figure(panel, losses, size=size)
        return inline(figure, name, title=panel.title, description=describe_panel(panel))


def panel_figure(panel: Panel, losses: Sequence[str], *, size: tuple[float, float], legend: bool = False) -> Figure:
    """Draw a panel in the style at hand (see `svg.drawing`), with a legend if it is to stand alone."""
    figure = new_figure(*size)
    axes = figure.add_subplot()
    for line in panel.lines:
        if panel.edges is not None:
            _histogram(axes, line, panel.edges, losses.index(line.loss))
        else:
            _line(axes, line, losses.index(line.loss), markers=panel.markers)
    if panel.zero_line:
        axes.axhline(0, color=ink(), linewidth=1)
    if panel.edges is not None:
        visible = [x for line in panel.lines for x, value in zip(line.x, line.high, strict=True) if value > 0.05]
        axes.set_xlim(math.floor(10 * min(visible, default=0)) / 10, 1)
        axes.set_ylim(0)
    axes.xaxis.set_major_locator(MaxNLocator(5) if panel.edges is None else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(panel.x_label)
    if panel.y_label:
        axes.set_ylabel(panel.y_label)
    if legend:
        _legend(figure, [line.loss for line in panel.lines], losses, histogram=panel.edges is not None)
    return figure


def draw_dots(dots: Dots, losses: Sequence[str], *, number: int, width: float) -> str:
    """Return a dot plot of differences as inline SVG: seeds as dots, their mean, its interval as a bar.

    Args:
        dots: the rows, drawn from top to bottom.
        losses: all losses, baseline first.
        number: tells plots of the same key apart in one page.
        width: in CSS pixels at scale 1.
    """
    name = f"figure-{dots.key.replace('_', '-')}-{number}"
    with drawing(name):
        figure = dots_figure(dots, losses, width=width)
        return inline(figure, name, title=dots.title, description=describe_dots(dots, losses[0]))


def dots_figure(dots: Dots, losses: Sequence[str], *, width: float) -> Figure:
    """Draw a dot plot in the style at hand (see `svg.drawing`)."""
    count = len(dots.rows)
    figure = new_figure(width, 52 + 27 * count)
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    if dots.margin:
        axes.axvspan(-dots.margin, dots.margin, color=grid(), alpha=0.6, linewidth=0, zorder=0)
    axes.axvline(0, color=ink(), linewidth=1)
    for y, row in zip(reversed(range(count)), dots.rows, strict=True):
        order = losses.index(row.loss or dots.candidate)
        colour, values = loss_colour(order), list(row.seeds.values())
        # Mean and interval a little above the line of the row, seeds a little below: none hides another.
        above, below = (y + 0.13, y - 0.2) if len(values) > 1 else (y, y)
        if row.low is not None and row.high is not None:
            axes.hlines(above, row.low, row.high, colors=colour, linewidth=6, alpha=0.3)
            axes.vlines([row.low, row.high], above - 0.17, above + 0.17, colors=colour, linewidth=1.5)
        seeds = {"marker": "o", "markersize": 4.5, "markerfacecolor": ground(), "markeredgecolor": colour}
        axes.plot(values, [below] * len(values), linestyle="", **seeds)
        if len(values) > 1:
            mean = {"marker": MARKERS[order % len(MARKERS)], "markersize": 7, "color": colour}
            axes.plot([row.mean], [above], linestyle="", **mean)
    axes.set_yticks(range(count), [_short(row.name) for row in reversed(dots.rows)], color=ink())
    axes.set_ylim(-0.6, count - 0.4)
    axes.set_xlim(*dots.limits)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(dots.label or f"points, {_short(dots.candidate, 24)} minus {_short(losses[0], 24)}")
    return figure


def swatch(order: int) -> str:
    """Return the legend mark of the loss at this position: its colour, dash and marker, as a small SVG."""
    dash = DASHES[order % len(DASHES)]
    pattern = "" if dash == "-" else f' stroke-dasharray="{" ".join(str(2 * part) for part in dash[1])}"'
    return (
        '<svg class="swatch" viewBox="0 0 34 12" width="34" height="12" aria-hidden="true" '
        f'style="color: var(--loss-{order % PALETTE_SIZE})">'
        f'<line x1="0" y1="6" x2="34" y2="6" stroke="currentColor" stroke-width="2"{pattern}/>'
        f'<g fill="currentColor">{LEGEND_MARKS[MARKERS[order % len(MARKERS)]]}</g></svg>'
    )


def _legend(figure: Figure, drawn: Sequence[str], losses: Sequence[str], *, histogram: bool) -> None:
    """Name the losses above a figure."""
    handles = []
    for loss in dict.fromkeys(drawn):
        order = losses.index(loss)
        marker = "" if histogram else MARKERS[order % len(MARKERS)]
        style: Any = {"linestyle": DASHES[order % len(DASHES)], "marker": marker, "color": loss_colour(order)}
        handles.append(Line2D([], [], label=_short(loss), **style))
    figure.legend(handles=handles, loc="outside upper left", frameon=False, ncols=2, handlelength=2.6)


def _line(axes: Axes, line: Line, order: int, *, markers: bool) -> None:
    colour = loss_colour(order)
    if line.stopped is not None:
        axes.plot(line.x, line.mean, color=colour, linewidth=0.9, alpha=0.8)
        axes.plot(line.x[-1:], line.mean[-1:], linestyle="", marker="x", markersize=7, markeredgewidth=2, color=colour)
        return
    if line.seeds > 1:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    spacing = 1 if markers else max(1, len(line.x) // 5)
    # Marks of different losses stand at different steps, so that lines that coincide still show both.
    offset = 0 if markers else (order * spacing // 3) % spacing
    style = {"linestyle": DASHES[order % len(DASHES)], "marker": MARKERS[order % len(MARKERS)]}
    edge = {"markevery": (offset, spacing), "markeredgecolor": ground(), "markeredgewidth": 0.6}
    axes.plot(line.x, line.mean, color=colour, **style, **edge)


def _histogram(axes: Axes, line: Line, edges: Sequence[float], order: int) -> None:
    mean, low, high = (
        [dict(zip(line.x, values, strict=True)).get(edge, 0.0) for edge in edges[:-1]]
        for values in (line.mean, line.low, line.high)
    )
    colour = loss_colour(order)
    if line.seeds > 1:
        axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.18, linewidth=0)
    axes.stairs(mean, edges, color=colour, linewidth=1.7, linestyle=DASHES[order % len(DASHES)], baseline=None)


def _short(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def describe_panel(panel: Panel) -> str:
    """Return what a panel shows, for a reader who cannot see it."""
    parts = []
    for line in panel.lines:
        if line.stopped is not None:
            parts.append(f"{line.loss}, seed {line.stopped}, stopped at {panel.x_label} {line.x[-1]:g}")
        elif panel.edges is not None:
            x, top = max(zip(line.x, line.mean, strict=True), key=lambda point: point[1])
            parts.append(f"{line.loss} peaks with {top:.1f}% at IoU {x:g}")
        else:
            ends = f"from {line.mean[0]:.4g} at {line.x[0]:g} to {line.mean[-1]:.4g} at {line.x[-1]:g}"
            parts.append(f"{line.loss} ({line.seeds} seed{'s' * (line.seeds != 1)}) {ends}")
    return f"{panel.title} over {panel.x_label}: {'; '.join(parts)}."


def describe_dots(dots: Dots, baseline: str) -> str:
    """Return what a dot plot shows, for a reader who cannot see it."""
    rows = []
    for row in dots.rows:
        interval = "" if row.low is None or row.high is None else f" ({row.low:+.2f} to {row.high:+.2f})"
        rows.append(f"{row.name} {row.mean:+.2f}{interval}")
    return f"{dots.label or f'Points, {dots.candidate} minus {baseline}'}: {'; '.join(rows)}."
