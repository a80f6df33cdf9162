"""What box losses do to a box, without a detector: the paper's curves, and simulated regression.

Everything is computed with the losses of the shelf and returned as plain numbers; `report` draws it. Names are
resolved at their first use, so that the command line can name this room without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothiou.lab.curves import Slide, slide, slides, slides_csv
    from smoothiou.lab.grid import LossGrid, loss_grid
    from smoothiou.lab.pairs import SinglePairLoss
    from smoothiou.lab.real_boxes import simulate_boxes
    from smoothiou.lab.simulation import simulate

__all__ = [
    "SinglePairLoss",
    "Slide",
    "slide",
    "slides",
    "slides_csv",
    "LossGrid",
    "loss_grid",
    "simulate",
    "simulate_boxes",
]

_HOMES = {
    "SinglePairLoss": "smoothiou.lab.pairs",
    "Slide": "smoothiou.lab.curves",
    "slide": "smoothiou.lab.curves",
    "slides": "smoothiou.lab.curves",
    "slides_csv": "smoothiou.lab.curves",
    "LossGrid": "smoothiou.lab.grid",
    "loss_grid": "smoothiou.lab.grid",
    "simulate": "smoothiou.lab.simulation",
    "simulate_boxes": "smoothiou.lab.real_boxes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
