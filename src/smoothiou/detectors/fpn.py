"""torchvision's Faster R-CNN with a feature pyramid, on ResNet and on MobileNet V3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.detectors.anchors import torchvision_anchors
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.registry import DETECTORS


def build_mobilenet_v3_fpn(*, num_classes: int, pretrained: bool, **settings: Any) -> FasterRCNN:
    """Return the detector with random weights; arguments as in `DetectorInfo.build`.

    torchvision's own has an RPN score threshold of 0.05, which would drop boxes from the mean IoU by their score.
    """
    backbone = mobilenet_backbone(
        backbone_name="mobilenet_v3_large",
        weights=None,
        fpn=True,
        norm_layer=_norm(pretrained),
        trainable_layers=3 if pretrained else 6,
    )
    return _faster_rcnn(backbone, "mobilenet-v3-fpn", num_classes=num_classes, **settings)


def build_resnet_fpn(*, backbone_name: str, num_classes: int, pretrained: bool, **settings: Any) -> FasterRCNN:
    """Return the detector with random weights; arguments as in `DetectorInfo.build`, and torchvision's ResNet."""
    backbone = resnet_fpn_backbone(
        backbone_name=backbone_name,
        weights=None,
        norm_layer=_norm(pretrained),
        trainable_layers=3 if pretrained else 5,
    )
    return _faster_rcnn(backbone, f"{backbone_name}-fpn", num_classes=num_classes, **settings)


def _faster_rcnn(backbone: nn.Module, name: str, *, num_classes: int, **settings: Any) -> FasterRCNN:
    return FasterRCNN(
        backbone,
        num_classes=num_classes,
        rpn_anchor_generator=torchvision_anchors(DETECTORS[name].anchors),
        box_roi_pool=PyramidRoIAlign(featmap_names=["0", "1", "2", "3"], output_size=7, sampling_ratio=2),
        **settings,
    )


def _norm(pretrained: bool) -> Callable[..., nn.Module]:
    # Pretrained statistics are better than those of a few images; random weights have none to keep.
    return FrozenBatchNorm2d if pretrained else nn.BatchNorm2d
