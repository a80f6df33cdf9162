"""Box losses: one loss, one file; `shelf.py` holds their names, `catalogue.py` what they are.

Each loss is a class for detectors (`LOSSES`, `load_loss`) and a function of boxes with torchvision's calling
convention, `giou_loss(boxes1, boxes2, reduction="none")`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothiou.losses.algorithm_1 import smooth_iou_loss
    from smoothiou.losses.alpha_iou import alpha_iou_loss
    from smoothiou.losses.balanced_l1 import balanced_l1_loss
    from smoothiou.losses.bounded_iou import bounded_iou_loss
    from smoothiou.losses.ciou import ciou_loss
    from smoothiou.losses.diou import diou_loss
    from smoothiou.losses.efficient_iou import efficient_iou_loss
    from smoothiou.losses.extended_iou import extended_iou_loss
    from smoothiou.losses.giou import giou_loss
    from smoothiou.losses.huber import huber_loss
    from smoothiou.losses.iou import iou_loss
    from smoothiou.losses.iou_log import iou_log_loss
    from smoothiou.losses.iou_squared import iou_squared_loss
    from smoothiou.losses.l1 import l1_loss
    from smoothiou.losses.l1_giou import l1_giou_loss
    from smoothiou.losses.l2 import l2_loss
    from smoothiou.losses.mix import mix_loss
    from smoothiou.losses.powerful_iou import powerful_iou_loss
    from smoothiou.losses.shelf import LOSSES, load_loss
    from smoothiou.losses.siou import siou_loss
    from smoothiou.losses.smooth_iou import SmoothIoU
    from smoothiou.losses.smooth_l1 import smooth_l1_loss

__all__ = [
    "LOSSES",
    "load_loss",
    "SmoothIoU",
    "smooth_iou_loss",
    "huber_loss",
    "smooth_l1_loss",
    "l1_loss",
    "l2_loss",
    "balanced_l1_loss",
    "iou_loss",
    "iou_log_loss",
    "iou_squared_loss",
    "alpha_iou_loss",
    "bounded_iou_loss",
    "giou_loss",
    "diou_loss",
    "ciou_loss",
    "efficient_iou_loss",
    "extended_iou_loss",
    "siou_loss",
    "powerful_iou_loss",
    "l1_giou_loss",
    "mix_loss",
]

_HOMES = {"LOSSES": "shelf", "load_loss": "shelf", "SmoothIoU": "smooth_iou", "smooth_iou_loss": "algorithm_1"}


def __getattr__(name: str) -> Any:
    # Lazy, so that the catalogue can be read without importing torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, name.removesuffix("_loss"))
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
