"""Two-stage detectors that learn their boxes with a loss of your choice."""

from smoothiou.detectors.build import DETECTORS, build_detector
from smoothiou.detectors.detect import detect, refine
from smoothiou.detectors.precision import keep_boxes_in_float32
from smoothiou.detectors.prepared import take_prepared
from smoothiou.detectors.shared_batch import Share, share_batch, statistics_of_all
from smoothiou.detectors.stage_loss import torchvision_smooth_l1
from smoothiou.detectors.torchvision import box_loss_state, box_statistics, load_box_loss_state, set_box_loss

__all__ = [
    "DETECTORS",
    "Share",
    "box_loss_state",
    "box_statistics",
    "build_detector",
    "detect",
    "keep_boxes_in_float32",
    "load_box_loss_state",
    "refine",
    "set_box_loss",
    "share_batch",
    "statistics_of_all",
    "take_prepared",
    "torchvision_smooth_l1",
]
