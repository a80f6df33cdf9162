"""The public names are what they are said to be, and come without what is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import smoothiou

PROMISED = {
    "smooth_iou_loss", "SmoothIoU", "set_box_loss", "LOSSES", "load_loss", "build_detector", "load_dataset",
    "detect_format", "evaluate_detections", "load_run", "load_study", "train", "compare", "Run",
    "Study", "__version__",
}  # fmt: skip


def test_the_public_list_is_complete_and_every_name_resolves():
    assert set(smoothiou.__all__) == PROMISED
    assert dir(smoothiou) == sorted(PROMISED)  # and not what the file itself imports
    assert all(getattr(smoothiou, name) is not None for name in PROMISED)


def test_data_and_metrics_do_not_need_torch():
    code = (
        "import sys; from smoothiou import load_dataset, evaluate_detections, detect_format\n"
        "assert load_dataset('shapes', split='test', images=6).records\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_loss_alone_needs_no_torchvision_and_an_adapter_no_host():
    code = (
        "import sys; from smoothiou import smooth_iou_loss, SmoothIoU\n"
        "assert 'torchvision' not in sys.modules\n"
        "import smoothiou.adapters.ultralytics, smoothiou.adapters.mmdet, smoothiou.adapters.detectron2\n"
        "assert not {'ultralytics', 'mmdet', 'detectron2', 'lightning'} & set(sys.modules)\n"
        "from smoothiou.detectors import refine, detect\n"
        "assert callable(refine) and callable(detect), 'hidden by modules of their names'"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
