"""The paper's example as a drawing: the boxes beside and above the curves of their losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, DrawingArea
from matplotlib.patches import Rectangle

from smoothiou.report.picture import light

if TYPE_CHECKING:
    from smoothiou.lab.curves import Slide

SCENE, CENTRE, SIDE = 80, 40, 20
"""The example's measures, for the drawing of its boxes (see `lab.curves`)."""

_TARGET: dict[str, Any] = {"facecolor": light("muted"), "alpha": 0.28, "linewidth": 0}
_PREDICTION: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (4, 2))}


def draw_strip(axes: Axes, slide: Slide) -> None:
    """Draw both boxes in small where they begin to touch, cover each other and lose touch."""
    axes.axis("off")
    axes.set_ylim(0, 1)
    start, end = slide.contact
    for x, label in ((start, "contact"), (CENTRE, "full overlap"), (end, "contact lost")):
        icon = AnnotationBbox(_icon(x - CENTRE, slide.size), (x, 0.06), frameon=False, box_alignment=(0.5, 0), pad=0)
        axes.add_artist(icon)
        axes.text(x, 0.88, label, ha="center", va="center", fontsize=9.5, color=light("ink"))


def _icon(shift: float, size: tuple[float, float]) -> DrawingArea:
    """Return both boxes in small, a point for a pixel: the target grey, the prediction an outline."""
    width, height = size
    left, right = min(-SIDE / 2, shift - width / 2), max(SIDE / 2, shift + width / 2)
    tall = max(height, SIDE)
    area = DrawingArea(right - left, tall)
    area.add_artist(Rectangle((-SIDE / 2 - left, (tall - SIDE) / 2), SIDE, SIDE, **_TARGET))
    corner = (shift - width / 2 - left, (tall - height) / 2)
    area.add_artist(Rectangle(corner, width, height, fill=False, edgecolor=light("ink"), linewidth=1))
    return area


def draw_scene(axes: Axes) -> None:
    """Draw the left half of Figure 1: the prediction on its way over the target."""
    axes.set_aspect("equal")
    axes.set_xlim(-11, SCENE + 11)
    axes.set_ylim(72, 8)  # image coordinates: y grows downwards
    axes.grid(visible=False)
    axes.set_xticks((0, 20, 40, 60, 80))
    axes.set_yticks((20, 40, 60))
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")
    corner = (CENTRE - SIDE / 2, CENTRE - SIDE / 2)
    axes.add_patch(Rectangle(corner, SIDE, SIDE, **_TARGET))
    blue, muted = light("loss-0"), light("muted")
    for x, alpha in ((0, 0.4), (20, 1.0), (40, 1.0), (60, 1.0), (80, 0.4)):
        corner = (x - SIDE / 2, CENTRE - SIDE / 2)
        axes.add_patch(Rectangle(corner, SIDE, SIDE, fill=False, edgecolor=blue, alpha=alpha, **_PREDICTION))
        axes.plot([x], [CENTRE], marker="o", markersize=3.5, color=blue, alpha=alpha)
    line = {"color": muted, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (SCENE, 57), (0, 57), arrowprops={**line, "arrowstyle": "-|>"})
    style = {"ha": "center", "fontsize": 9}
    axes.text(CENTRE, 62.5, "the prediction slides over its target (grey)", color=muted, **style)
    for x, text in ((20, "contact\n(20, 40)"), (40, "full overlap\n(40, 40)"), (60, "contact lost\n(60, 40)")):
        axes.text(x, 27.5 - 9 * (x == 40), text, va="bottom", color=light("ink"), **style)
    axes.annotate("", (40, 29.5), (40, 19.5), arrowprops={**line, "arrowstyle": "-"})
