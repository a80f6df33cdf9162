"""The paper's Figures 1 to 3 and the gradients it does not show, drawn from `lab.curves`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from smoothiou.report.figures import DASHES
from smoothiou.report.picture import Picture, drawing_alone, light, picture
from smoothiou.report.scene import CENTRE, SCENE, SIDE, draw_scene, draw_strip
from smoothiou.report.svg import PALETTE_SIZE, new_figure

if TYPE_CHECKING:
    from smoothiou.lab.curves import Slide

# The losses of the paper keep their colours in every figure; others take what is left, in order.
SLOTS = {"huber": 0, "smooth-iou": 1, "iou": 2, "l2": 3}


def figure_1(slides: Sequence[Slide], name: str = "figure1") -> Picture:
    """Return Figure 1: the boxes on the left; on the right each loss on its own scale."""
    with drawing_alone(name):
        figure = new_figure(760, 400)
        grid = figure.add_gridspec(len(slides), 2, width_ratios=(1.2, 1), wspace=0.06)
        scene = figure.add_subplot(grid[:, 0])
        draw_scene(scene)
        for row, slide in enumerate(slides):
            axes = figure.add_subplot(grid[row, 1])
            _curve(axes, slide.x, slide.value, slide.loss, list(slides), dashes=False)
            _frame(axes, slide, bottom=row == len(slides) - 1)
            _caption(axes, slide.loss, f"largest value {max(slide.value):.4g}")
        return picture(figure, name, title="Figure 1: a box slides over the truth", description=_describe(slides))


def overlaid(slides: Sequence[Slide], name: str, *, title: str, scaled: bool = False) -> Picture:
    """Return losses in one pair of axes, under a drawing of the boxes (Figure 2, right, and Figure 3).

    Args:
        slides: curves of one box size.
        name: of the picture.
        title: of the picture, read aloud.
        scaled: divide each loss by its largest value, "to highlight the profiles".
    """
    with drawing_alone(name):
        figure, strip, axes = _under_strip(slides[0], (600, 430))
        for slide in slides:
            _curve(axes, slide.x, slide.scaled if scaled else slide.value, slide.loss, list(slides))
        _frame(axes, slides[0], bottom=True)
        axes.set_ylabel("loss, as a share of its largest value" if scaled else "loss")
        _legend(strip, [slide.loss for slide in slides], list(slides))
        return picture(figure, name, title=title, description=_describe(slides, scaled=scaled))


def figure_2_left(slides: Sequence[Slide], name: str = "figure2-left") -> Picture:
    """Return Figure 2 (left): Huber and Smooth IoU for several thresholds delta, the same outside the overlap."""
    with drawing_alone(name):
        figure, strip, axes = _under_strip(slides[0], (600, 430))
        for slide in slides:
            huber = slide.loss.startswith("huber")
            colour = light(f"loss-{SLOTS['huber' if huber else 'smooth-iou']}")
            if huber:
                axes.plot(slide.x, slide.value, color=colour, linewidth=1.3, linestyle=(0, (4, 2.5)), zorder=3)
                delta = slide.loss.partition("=")[2].rstrip("]")
                label = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
                axes.annotate(f"δ = {delta}", (slide.x[-1], slide.value[-1]), color=light("ink"), fontsize=9, **label)
            else:
                axes.plot(slide.x, slide.value, color=colour, linewidth=2.1)
        axes.set_ylim(bottom=-5)
        _frame(axes, slides[0], bottom=True)
        axes.set_ylabel("loss")
        names = ("smooth-iou", "huber")
        styles: list[dict[str, Any]] = [{"linewidth": 2.1}, {"linewidth": 1.3, "linestyle": (0, (4, 2.5))}]
        handles = [
            Line2D([], [], color=light(f"loss-{SLOTS[loss]}"), label=loss, **style)
            for loss, style in zip(names, styles, strict=True)
        ]
        strip.legend(handles=handles, **_LEGEND)
        title = "Figure 2 (left): Huber and Smooth IoU for thresholds from 1 to 2"
        return picture(figure, name, title=title, description=_describe(slides))


def value_panels(slides: Sequence[Slide], name: str, *, title: str) -> Picture:
    """Return one small panel for each loss, each on its own scale."""

    def draw(axes: Axes, slide: Slide) -> None:
        _curve(axes, slide.x, slide.value, slide.loss, list(slides), dashes=False)
        _caption(axes, slide.loss, f"largest {max(slide.value):.4g}")

    return _panels(slides, name, draw, title=title, description=_describe(slides), y_label="loss")


def gradient_panels(slides: Sequence[Slide], name: str = "gradients") -> Picture:
    """Return the gradient of each loss in a small panel; dashed, the slope of its curve where that is another."""

    def draw(axes: Axes, slide: Slide) -> None:
        _gradient(axes, slide, list(slides))
        _caption(axes, slide.loss, "")

    title = "Gradient of each loss along the slide"
    words = "; ".join(
        f"{slide.loss}: from {min(slide.gradient):.3g} to {max(slide.gradient):.3g}"
        + (f", slope of the curve from {min(slide.slope):.3g} to {max(slide.slope):.3g}" if differs(slide) else "")
        for slide in slides
    )
    key = any(differs(slide) for slide in slides)
    return _panels(
        slides, name, draw, title=title, description=f"{title}: {words}.", y_label="dL/dx, per pixel", key=key
    )


def gallery_picture(slide: Slide, name: str) -> Picture:
    """Return one loss in small: its value and its gradient along the slide, side by side."""
    with drawing_alone(name):
        figure = new_figure(560, 190)
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.05})
        _curve(left, slide.x, slide.value, slide.loss, [slide], dashes=False)
        _gradient(right, slide, [slide])
        for axes in (left, right):
            _frame(axes, slide, bottom=True)
            axes.set_xlabel("")
        _caption(left, "value", "")
        _caption(right, "gradient dL/dx", "dashed: slope of the curve" if differs(slide) else "")
        title = f"{slide.loss} along the slide"
        return picture(figure, name, title=title, description=_describe([slide]))


def differs(slide: Slide) -> bool:
    """Return whether the gradient is not the slope of the curve, beyond single kinks."""
    top = max(map(abs, slide.gradient)) or 1.0
    apart = [abs(a - b) > 1e-3 * top for a, b in zip(slide.gradient, slide.slope, strict=True)]
    # At a kink the gradient takes a side and the slope the mean; a kink is one position, not two in a row.
    return any(a and b for a, b in itertools.pairwise(apart))


_LEGEND: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1.12),
    "frameon": False,
    "ncols": 4,
    "fontsize": 10,
    "borderpad": 0,
    "borderaxespad": 0,
    "handlelength": 2.4,
    "columnspacing": 1.6,
}


def _under_strip(slide: Slide, size: tuple[float, float]) -> tuple[Figure, Axes, Axes]:
    """Return a figure, the strip that shows the boxes on the same x axis, and the axes under it."""
    figure = new_figure(*size)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 6), hspace=0.02)
    axes = figure.add_subplot(grid[1])
    strip = figure.add_subplot(grid[0], sharex=axes)
    draw_strip(strip, slide)
    return figure, strip, axes


def _curve(
    axes: Axes, x: Sequence[float], y: Sequence[float], loss: str, slides: list[Slide], *, dashes: bool = True
) -> None:
    slot = _slot(loss, slides)
    style = DASHES[slot % len(DASHES)] if dashes else "-"
    axes.plot(x, y, color=light(f"loss-{slot}"), linestyle=style, linewidth=2)
    if min(y) >= 0:  # a loss is read from 0
        top = max(1.05 * max(y), axes.get_ylim()[1])
        axes.set_ylim(-0.03 * top, top)


def _slot(loss: str, slides: list[Slide]) -> int:
    """Return the place of a loss in the palette: its own, or the next that no loss of the figure owns."""
    if loss in SLOTS:
        return SLOTS[loss]
    owned = {SLOTS[slide.loss] for slide in slides if slide.loss in SLOTS}
    free = [slot for slot in range(PALETTE_SIZE) if slot not in owned] or list(range(PALETTE_SIZE))
    others = [slide.loss for slide in slides if slide.loss not in SLOTS]
    return free[others.index(loss) % len(free)]


def _gradient(axes: Axes, slide: Slide, slides: list[Slide]) -> None:
    axes.axhline(0, color=light("muted"), linewidth=0.8)
    colour = light(f"loss-{_slot(slide.loss, slides)}")
    axes.plot(slide.x, slide.gradient, color=colour, linewidth=2)
    if differs(slide):
        axes.plot(slide.x, slide.slope, color=colour, linewidth=1.2, linestyle=(0, (3, 2)))


def _frame(axes: Axes, slide: Slide, *, bottom: bool) -> None:
    start, end = slide.contact
    for x in (start, CENTRE, end):
        axes.axvline(x, color=light("muted"), linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xlim(0, SCENE)
    axes.set_xticks((0, 20, 40, 60, 80))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(visible=False, axis="x")
    axes.tick_params(labelbottom=bottom)
    if bottom:
        axes.set_xlabel(_x_label(slide))


def _x_label(slide: Slide) -> str:
    width, height = slide.size
    sizes = "" if slide.size == (SIDE, SIDE) else f", {width:g} × {height:g} over {SIDE} × {SIDE}"
    return f"centre of the predicted box{sizes}, x (pixels)"


def _caption(axes: Axes, left: str, right: str) -> None:
    axes.set_title(left, loc="left", fontsize=10.5, fontweight="bold", color=light("ink"), pad=6)
    axes.set_title(right, loc="right", fontsize=9, color=light("muted"), pad=6)


def _legend(axes: Axes, losses: Sequence[str], slides: list[Slide]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=light(f"loss-{_slot(loss, slides)}"),
            linewidth=2,
            linestyle=DASHES[_slot(loss, slides) % len(DASHES)],
            label=loss,
        )
        for loss in losses
    ]
    axes.legend(handles=handles, **_LEGEND)


def _panels(
    slides: Sequence[Slide],
    name: str,
    draw: Callable[[Axes, Slide], None],
    *,
    title: str,
    description: str,
    y_label: str,
    key: bool = False,
) -> Picture:
    columns = min(len(slides), 2 if len(slides) in (2, 4) else 3)
    rows = math.ceil(len(slides) / columns)
    with drawing_alone(name):
        figure = new_figure(max(280 * columns, 420), 185 * rows + 30 + (22 if columns > 1 else 40) * key)
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(slides):
                axes.set_visible(False)
                continue
            draw(axes, slides[place])
            _frame(axes, slides[place], bottom=place + columns >= len(slides))
            axes.set_xlabel("")
        figure.supxlabel(_x_label(slides[0]), fontsize=10.5, color=light("muted"))
        figure.supylabel(y_label, fontsize=10.5, color=light("muted"))
        if key:
            ink = light("ink")
            handles = [
                Line2D([], [], color=ink, linewidth=2, label="gradient, as training sees it"),
                Line2D(
                    [],
                    [],
                    color=ink,
                    linewidth=1.2,
                    linestyle=(0, (3, 2)),
                    label="slope of the drawn curve, of which training holds a part constant",
                ),
            ]
            figure.legend(handles=handles, loc="outside upper left", frameon=False, ncols=min(columns, 2), fontsize=9.5)
        return picture(figure, name, title=title, description=description)


def _describe(slides: Sequence[Slide], *, scaled: bool = False) -> str:
    parts = []
    for slide in slides:
        values = slide.scaled if scaled else slide.value
        at = dict(zip(slide.x, values, strict=True))
        start, end = slide.contact
        points = [(0.0, "at 0"), (start, "at contact"), (CENTRE, "at full overlap"), (end, "where contact is lost")]
        shown = [f"{at[x]:.3g} {words}" for x, words in points if x in at]
        parts.append(f"{slide.loss} is {', '.join(shown)}")
    width, height = slides[0].size
    return f"A box of {width:g} x {height:g} slides over one of {SIDE} x {SIDE}; {'; '.join(parts)}."
