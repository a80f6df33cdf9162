"""The interactive page: one HTML file that holds every loss on a grid of boxes and lets a box be moved by hand."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from smoothiou.manifest import version
from smoothiou.report.page import render
from smoothiou.report.svg import PALETTE_SIZE

if TYPE_CHECKING:
    from smoothiou.lab.grid import LossGrid

FIRST_ARROWS = ("huber", "smooth-iou", "iou")
"""Losses whose arrows are shown at the start, where the page has them."""


def render_explorer(grid: LossGrid) -> str:
    """Return the page as one self-contained HTML text: no network, the same bytes for the same grid.

    The script holds no formula of a loss: it looks numbers up that `lab.grid` computed, and mirrors those of
    symmetric losses.
    """
    names = [loss.loss for loss in grid.losses]
    content: dict[str, Any] = {
        "sides": grid.sides,
        "reach": grid.reach,
        "centre": grid.centre,
        "side": grid.side,
        "map": "smooth-iou" if "smooth-iou" in names else names[0],
        "arrows": [name for name in FIRST_ARROWS if name in names] or names[:3],
        "palette": PALETTE_SIZE,
        "iou": _base64(grid.iou),
        "losses": [{"name": loss.loss, "whole": loss.whole, "packed": _base64(loss.packed)} for loss in grid.losses],
    }
    return render(
        "explorer.html.j2",
        version=version(),
        losses=grid.losses,
        sides=grid.sides,
        side=grid.side,
        # "<" could end the element that holds the data.
        data=Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")),
        boxes=len(grid.sides) ** 2 * (2 * grid.reach + 1) ** 2,
        whole=[loss.loss for loss in grid.losses if loss.whole],
    )


def _base64(packed: bytes) -> str:
    return base64.b64encode(packed).decode()
