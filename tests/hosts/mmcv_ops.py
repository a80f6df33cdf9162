"""The operators of mmcv that Faster R-CNN needs, by torchvision.

mmcv's own are compiled for old versions of torch; its package without them, mmcv-lite, has no `mmcv.ops`, which
MMDetection imports.
"""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

import torch
from torch import nn
from torchvision import ops


class RoIAlign(nn.Module):
    def __init__(self, output_size, spatial_scale=1.0, sampling_ratio=0, aligned=True):
        super().__init__()
        self.output_size, self.options = (output_size,) * 2, (spatial_scale, sampling_ratio, aligned)

    def forward(self, maps, rois):
        return ops.roi_align(maps, rois, self.output_size, *self.options)


def batched_nms(boxes, scores, groups, nms_cfg):
    kept = ops.batched_nms(boxes, scores, groups, nms_cfg["iou_threshold"])
    return torch.cat([boxes[kept], scores[kept, None]], dim=1), kept


def install() -> None:
    """Put the operators in mmcv's place; all others are there as names that nothing calls."""

    def unused(name: str) -> type[nn.Module]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})

    for name in ("", ".roi_align", ".nms", ".merge_cells", ".carafe", ".modulated_deform_conv"):
        module = ModuleType(f"mmcv.ops{name}")
        module.__path__ = []
        module.__getattr__ = unused
        sys.modules[module.__name__] = module
    sys.modules["mmcv.ops"].RoIAlign = RoIAlign
    sys.modules["mmcv.ops"].batched_nms = batched_nms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the operators are missing
        from mmcv.cnn.bricks import transformer
    transformer.MultiScaleDeformableAttention = unused("MultiScaleDeformableAttention")
