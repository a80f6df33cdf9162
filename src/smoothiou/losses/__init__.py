"""Box losses: one loss, one file; `shelf.py` holds their names, `catalogue.py` what they are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothiou.losses.shelf import LOSSES, load_loss
    from smoothiou.losses.smooth_iou import SmoothIoU, smooth_iou_loss

__all__ = ["LOSSES", "load_loss", "smooth_iou_loss", "SmoothIoU"]


_HOMES = {
    "LOSSES": "smoothiou.losses.shelf",
    "load_loss": "smoothiou.losses.shelf",
    "smooth_iou_loss": "smoothiou.losses.smooth_iou",
    "SmoothIoU": "smoothiou.losses.smooth_iou",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the catalogue can be read without importing torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
