"""Tighter boxes from two-stage detectors: the Smooth IoU loss, and a way to find out whether it helps.

Names are resolved at their first use, so that `import smoothiou` and the command line start without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own; loading it would double the time in which Ctrl-C is a traceback
if TYPE_CHECKING:
    from typing import Any

    from smoothiou.api.compare import compare
    from smoothiou.api.study import Study, load_study
    from smoothiou.api.train import train
    from smoothiou.data import detect_format, load_dataset
    from smoothiou.detectors import build_detector, set_box_loss
    from smoothiou.engine.predictor import Run, load_run
    from smoothiou.losses import LOSSES, SmoothIoU, load_loss, smooth_iou_loss
    from smoothiou.metrics import evaluate_detections

__version__ = "0.2.0"

__all__ = [
    "smooth_iou_loss",
    "SmoothIoU",
    "set_box_loss",
    "LOSSES",
    "load_loss",
    "build_detector",
    "load_dataset",
    "detect_format",
    "evaluate_detections",
    "train",
    "compare",
    "load_run",
    "load_study",
    "Run",
    "Study",
    "__version__",
]

_HOMES = {
    "smooth_iou_loss": "smoothiou.losses",
    "SmoothIoU": "smoothiou.losses",
    "LOSSES": "smoothiou.losses",
    "load_loss": "smoothiou.losses",
    "set_box_loss": "smoothiou.detectors",
    "build_detector": "smoothiou.detectors",
    "load_dataset": "smoothiou.data",
    "detect_format": "smoothiou.data",
    "evaluate_detections": "smoothiou.metrics",
    "train": "smoothiou.api.train",
    "compare": "smoothiou.api.compare",
    "load_run": "smoothiou.engine.predictor",
    "load_study": "smoothiou.api.study",
    "Run": "smoothiou.engine.predictor",
    "Study": "smoothiou.api.study",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
