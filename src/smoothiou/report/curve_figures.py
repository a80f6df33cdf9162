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

SLOTS = {"huber": 0, "smooth-iou": 1, "iou": 2, "l2": 3}
"""Colours of the paper's losses, the same in every figure; others take what is left, in order."""
SLOPE = (0, (3, 2))
"""Dash of the slope of a drawn curve, beside its gradient."""
DELTA = (0, (4, 2.5))
"""Dash of Huber in Figure 2 (left)."""
LEGEND: dict[str, Any] = {
    "loc": "lower left", "bbox_to_anchor": (0, 1.12), "frameon": False, "ncols": 4, "fontsize": 10, "borderpad": 0,
    "borderaxespad": 0, "handlelength": 2.4, "columnspacing": 1.6,
}  # fmt: skip


def figure_1(slides: Sequence[Slide]) -> Picture:
    """Return Figure 1: the boxes on the left; on the right each loss on its own scale."""
    name = "figure1"
    with drawing_alone(name):
        figure = new_figure(760, 400)
        grid = figure.add_gridspec(len(slides), 2, width_ratios=(1.2, 1), wspace=0.06)
        draw_scene(figure.add_subplot(grid[:, 0]))
        for row, slide in enumerate(slides):
            axes = figure.add_subplot(grid[row, 1])
            _value(axes, slide, slides)
            _frame(axes, slide, bottom=row == len(slides) - 1)
            _caption(axes, slide.loss, f"largest value {max(slide.value):.4g}")
        return picture(figure, name, title="Figure 1: a box slides over its target", description=_describe(slides))


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
        handles = []
        for slide in slides:
            slot = _slot(slide, slides)
            style = {"color": light(f"loss-{slot}"), "linestyle": DASHES[slot % len(DASHES)], "linewidth": 2}
            _line(axes, slide.x, slide.scaled if scaled else slide.value, **style)
            handles.append(Line2D([], [], label=slide.loss, **style))
        _frame(axes, slides[0], bottom=True)
        axes.set_ylabel("loss, as a share of its largest value" if scaled else "loss")
        strip.legend(handles=handles, **LEGEND)
        return picture(figure, name, title=title, description=_describe(slides, scaled=scaled))


def figure_2_left(slides: Sequence[Slide]) -> Picture:
    """Return Figure 2 (left): Huber and Smooth IoU for several thresholds delta, the same outside the overlap."""
    name = "figure2-left"
    styles: dict[str, dict[str, Any]] = {
        "smooth-iou": {"color": light("loss-1"), "linewidth": 2.1},
        "huber": {"color": light("loss-0"), "linewidth": 1.3, "linestyle": DELTA},
    }
    with drawing_alone(name):
        figure, strip, axes = _under_strip(slides[0], (600, 430))
        for slide in slides:
            loss, _, delta = slide.loss.rstrip("]").partition("[delta=")
            axes.plot(slide.x, slide.value, zorder=3 if loss == "huber" else 2, **styles[loss])
            if loss == "huber":
                axes.annotate(
                    f"δ = {delta}", (slide.x[-1], slide.value[-1]), xytext=(5, 0), textcoords="offset points",
                    va="center", annotation_clip=False, color=light("ink"), fontsize=9,
                )  # fmt: skip
        axes.set_ylim(bottom=-5)
        _frame(axes, slides[0], bottom=True)
        axes.set_ylabel("loss")
        strip.legend(handles=[Line2D([], [], label=loss, **style) for loss, style in styles.items()], **LEGEND)
        title = "Figure 2 (left): Huber and Smooth IoU for thresholds from 1 to 2"
        return picture(figure, name, title=title, description=_describe(slides))


def value_panels(slides: Sequence[Slide], name: str, *, title: str) -> Picture:
    """Return one small panel for each loss, each on its own scale."""

    def draw(axes: Axes, slide: Slide) -> None:
        _value(axes, slide, slides)
        _caption(axes, slide.loss, f"largest {max(slide.value):.4g}")

    return _panels(slides, name, draw, title=title, description=_describe(slides), y_label="loss")


def gradient_panels(slides: Sequence[Slide]) -> Picture:
    """Return the gradient of each loss in a small panel; dashed, the slope of its curve where that is another."""

    def draw(axes: Axes, slide: Slide) -> None:
        _gradient(axes, slide, slides)
        _caption(axes, slide.loss, "")

    parts = []
    for slide in slides:
        slope = f", slope of the curve from {min(slide.slope):.3g} to {max(slide.slope):.3g}" if differs(slide) else ""
        parts.append(f"{slide.loss}: from {min(slide.gradient):.3g} to {max(slide.gradient):.3g}{slope}")
    title = "Gradient of each loss along the slide"
    return _panels(
        slides, "gradients", draw, title=title, description=f"{title}: {'; '.join(parts)}.",
        y_label="dL/dx, per pixel", key=any(map(differs, slides)),
    )  # fmt: skip


def gallery_picture(slide: Slide, name: str) -> Picture:
    """Return one loss in small: its value and its gradient along the slide, side by side."""
    with drawing_alone(name):
        figure = new_figure(560, 190)
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.05})
        _value(left, slide, [slide])
        _gradient(right, slide, [slide])
        for axes in (left, right):
            _frame(axes, slide, bottom=True)
            axes.set_xlabel("")
        _caption(left, "value", "")
        _caption(right, "gradient dL/dx", "dashed: slope of the curve" if differs(slide) else "")
        return picture(figure, name, title=f"{slide.loss} along the slide", description=_describe([slide]))


def differs(slide: Slide) -> bool:
    """Return whether the gradient is not the slope of the curve, beyond single kinks."""
    top = max(map(abs, slide.gradient)) or 1.0
    apart = [abs(a - b) > 1e-3 * top for a, b in zip(slide.gradient, slide.slope, strict=True)]
    # At a kink the gradient takes a side and the slope the mean; a kink is one position, not two in a row.
    return any(a and b for a, b in itertools.pairwise(apart))


def _slot(slide: Slide, slides: Sequence[Slide]) -> int:
    """Return the colour of a loss: its own of `SLOTS`, or the next that no loss of the figure has there."""
    if slide.loss in SLOTS:
        return SLOTS[slide.loss]
    reserved = {SLOTS[other.loss] for other in slides if other.loss in SLOTS}
    free = [slot for slot in range(PALETTE_SIZE) if slot not in reserved] or list(range(PALETTE_SIZE))
    others = [other.loss for other in slides if other.loss not in SLOTS]
    return free[others.index(slide.loss) % len(free)]


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    axes.plot(x, y, **style)
    if min(y) >= 0:  # a loss is read from 0
        top = max(1.05 * max(y), axes.get_ylim()[1])
        axes.set_ylim(-0.03 * top, top)


def _value(axes: Axes, slide: Slide, slides: Sequence[Slide]) -> None:
    _line(axes, slide.x, slide.value, color=light(f"loss-{_slot(slide, slides)}"), linewidth=2)


def _gradient(axes: Axes, slide: Slide, slides: Sequence[Slide]) -> None:
    axes.axhline(0, color=light("muted"), linewidth=0.8)
    colour = light(f"loss-{_slot(slide, slides)}")
    axes.plot(slide.x, slide.gradient, color=colour, linewidth=2)
    if differs(slide):
        axes.plot(slide.x, slide.slope, color=colour, linewidth=1.2, linestyle=SLOPE)


def _under_strip(slide: Slide, size: tuple[float, float]) -> tuple[Figure, Axes, Axes]:
    """Return a figure, the strip that shows the boxes on the same x axis, and the axes under it."""
    figure = new_figure(*size)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 6), hspace=0.02)
    axes = figure.add_subplot(grid[1])
    strip = figure.add_subplot(grid[0], sharex=axes)
    draw_strip(strip, slide)
    return figure, strip, axes


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
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for index, (axes, slide) in enumerate(itertools.zip_longest(panels, slides)):
            if slide is None:
                axes.set_visible(False)
                continue
            draw(axes, slide)
            _frame(axes, slide, bottom=index + columns >= len(slides))
            axes.set_xlabel("")
        figure.supxlabel(_x_label(slides[0]), fontsize=10.5, color=light("muted"))
        figure.supylabel(y_label, fontsize=10.5, color=light("muted"))
        if key:
            slope = "slope of the drawn curve, of which training holds a part constant"
            handles = [
                Line2D([], [], color=light("ink"), linewidth=2, label="gradient, as training computes it"),
                Line2D([], [], color=light("ink"), linewidth=1.2, linestyle=SLOPE, label=slope),
            ]
            figure.legend(handles=handles, loc="outside upper left", frameon=False, ncols=min(columns, 2), fontsize=9.5)
        return picture(figure, name, title=title, description=description)


def _describe(slides: Sequence[Slide], *, scaled: bool = False) -> str:
    parts = []
    for slide in slides:
        at = dict(zip(slide.x, slide.scaled if scaled else slide.value, strict=True))
        start, end = slide.contact
        points = ((0.0, "at 0"), (start, "at contact"), (CENTRE, "at full overlap"), (end, "where contact is lost"))
        parts.append(f"{slide.loss} is {', '.join(f'{at[x]:.3g} {name}' for x, name in points if x in at)}")
    width, height = slides[0].size
    return f"A box of {width:g} x {height:g} slides over one of {SIDE} x {SIDE}; {'; '.join(parts)}."
