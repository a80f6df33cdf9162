"""Two-stage detectors that train with a box loss of your choice.

Names are resolved at their first use, so that `smoothiou.detectors.registry` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothiou.detectors.box_loss import (
        box_loss_state,
        load_box_loss_state,
        set_box_loss,
    )
    from smoothiou.detectors.build import build_detector
    from smoothiou.detectors.detections import detect, refine
    from smoothiou.detectors.precision import keep_boxes_in_float32
    from smoothiou.detectors.prepared import take_prepared
    from smoothiou.detectors.registry import DETECTORS
    from smoothiou.detectors.statistics import box_statistics, reduce_statistics
    from smoothiou.detectors.torchvision_losses import TorchvisionGIoU, torchvision_l1, torchvision_smooth_l1

_MODULES = {
    "DETECTORS": "registry",
    "box_loss_state": "box_loss",
    "box_statistics": "statistics",
    "build_detector": "build",
    "detect": "detections",
    "keep_boxes_in_float32": "precision",
    "load_box_loss_state": "box_loss",
    "reduce_statistics": "statistics",
    "refine": "detections",
    "set_box_loss": "box_loss",
    "take_prepared": "prepared",
    "TorchvisionGIoU": "torchvision_losses",
    "torchvision_l1": "torchvision_losses",
    "torchvision_smooth_l1": "torchvision_losses",
}

__all__ = [
    "DETECTORS",
    "box_loss_state",
    "box_statistics",
    "build_detector",
    "detect",
    "keep_boxes_in_float32",
    "load_box_loss_state",
    "reduce_statistics",
    "refine",
    "set_box_loss",
    "take_prepared",
    "TorchvisionGIoU",
    "torchvision_l1",
    "torchvision_smooth_l1",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
