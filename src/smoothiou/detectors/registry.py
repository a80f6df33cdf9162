"""The detectors by name: one entry says all about a detector. No torch.

A new detector is one file with a builder, and one entry here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.loss_spec import cascade_stage

TENSORFLOW = "tf:"
"""Prefix of the path of a TensorFlow checkpoint."""
TIMM = "timm:"
"""Prefix of the name of a backbone of timm."""


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one feature map, the same around every cell.

    Args:
        stride: pixels between neighbouring centres, the first of which is at 0.
        sizes: square roots of the anchors' areas in pixels.
        ratios: height / width.
        rounded: whether half sides are rounded to whole pixels, as torchvision does.
    """

    stride: int
    sizes: tuple[float, ...]
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounded: bool = True

    @property
    def sides(self) -> tuple[tuple[float, float], ...]:
        """Return (width, height) of each anchor in pixels, by ratio and then size."""
        exact = [(s / math.sqrt(r), s * math.sqrt(r)) for r in self.ratios for s in self.sizes]
        return tuple((2.0 * round(w / 2), 2.0 * round(h / 2)) if self.rounded else (w, h) for w, h in exact)


@dataclass(frozen=True, kw_only=True)
class DetectorInfo:
    """What is known of a detector without building it.

    Args:
        build: "module:function". It is called with `num_classes` (background included), `pretrained` (whether weights
            will be loaded, so that norms and first layers should be frozen), `options`, and settings of torchvision's
            `FasterRCNN`, and returns one with random weights.
        summary: one line for lists of detectors.
        anchors: of each feature map of the region proposal network.
        parameters_m: millions of parameters, for estimates of disk space.
        imagenet: name of the backbone's ImageNet weights, if there are any: torchvision's, or in words where the
            backbone loads them itself, by a method `load_imagenet` that returns a note.
        installed: whether they come with the installation, so that a training begins from them unless told otherwise.
        coco: torchvision's name of the detector's COCO weights, if there are any.
        tensorflow: whether TensorFlow's checkpoints can be read.
        options: further arguments of the builder.
        stem: the last layer of the stem among the children of the backbone (see `freeze_layers`).
        cascade: number of second stages in a row, which `build_detector` makes of the builder's one.
        depthwise: whether its convolutions are depthwise, which a CPU computes no faster in bf16.
    """

    build: str
    summary: str
    anchors: tuple[AnchorLevel, ...]
    parameters_m: float = 40.0
    imagenet: str = ""
    installed: bool = False
    coco: str = ""
    tensorflow: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    stem: str = ""
    cascade: int = 1
    depthwise: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the stages that have a box loss."""
        return ("rpn", *map(cascade_stage, range(self.cascade)))

    @property
    def offers(self) -> tuple[str, ...]:
        """Return the values of `weights` that are not a path of a checkpoint of ours."""
        kinds = {"imagenet": self.imagenet, "coco": self.coco, f"{TENSORFLOW}PATH": self.tensorflow}
        return ("none", *(kind for kind, available in kinds.items() if available))


_FPN = tuple(AnchorLevel(stride, (size,)) for stride, size in ((4, 32), (8, 64), (16, 128), (32, 256), (64, 512)))
_MOBILENET_SIZES = (32, 64, 128, 256, 512)

DETECTORS: Mapping[str, DetectorInfo] = MappingProxyType(
    {
        "nano": DetectorInfo(
            build="smoothiou.detectors.nano:build_nano",
            summary="2.7 million parameters, learns from random weights on a CPU",
            anchors=(AnchorLevel(16, (16, 32, 64, 128, 256)),),
            parameters_m=2.7,
            stem="1",
        ),
        "lite0": DetectorInfo(
            build="smoothiou.detectors.lite0:build_lite0",
            summary="5 million parameters, begins from ImageNet weights that are installed with it",
            anchors=(AnchorLevel(8, (16, 32, 64, 128, 256)),),
            parameters_m=5.0,
            imagenet="EfficientNet-Lite0",
            installed=True,
            depthwise=True,
        ),
        "lite0-cascade": DetectorInfo(
            build="smoothiou.detectors.lite0:build_lite0",
            summary="8 million parameters, lite0 with three second stages in a row (Cascade R-CNN)",
            anchors=(AnchorLevel(8, (16, 32, 64, 128, 256)),),
            parameters_m=8.4,
            imagenet="EfficientNet-Lite0",
            installed=True,
            cascade=3,
            depthwise=True,
        ),
        "resnet18-fpn": DetectorInfo(
            build="smoothiou.detectors.fpn:build_resnet_fpn",
            options={"backbone_name": "resnet18"},
            summary="28 million parameters",
            anchors=_FPN,
            parameters_m=28.3,
            imagenet="ResNet18_Weights.IMAGENET1K_V1",
            stem="bn1",
        ),
        "resnet50-fpn": DetectorInfo(
            build="smoothiou.detectors.fpn:build_resnet_fpn",
            options={"backbone_name": "resnet50"},
            summary="41 million parameters, torchvision's standard",
            anchors=_FPN,
            parameters_m=41.5,
            imagenet="ResNet50_Weights.IMAGENET1K_V1",
            coco="FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
            stem="bn1",
        ),
        "mobilenet-v3-fpn": DetectorInfo(
            build="smoothiou.detectors.fpn:build_mobilenet_v3_fpn",
            summary="19 million parameters, light on a GPU",
            anchors=tuple(AnchorLevel(stride, _MOBILENET_SIZES) for stride in (32, 32, 64)),
            parameters_m=19.4,
            depthwise=True,
            imagenet="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
            coco="FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
        ),
        "inception-v2": DetectorInfo(
            build="smoothiou.detectors.inception_rcnn:build_inception_v2",
            summary="13 million parameters, the paper's; reads TensorFlow's checkpoints",
            anchors=(AnchorLevel(16, (64, 128, 256, 512), ratios=(2.0, 1.0, 0.5), rounded=False),),
            parameters_m=13.3,
            tensorflow=True,
            stem="Conv2d_2c_3x3",
        ),
        "vgg16": DetectorInfo(
            build="smoothiou.detectors.vgg16:build_vgg16",
            summary="137 million parameters, of the original Faster R-CNN, the paper's baseline",
            anchors=(AnchorLevel(16, (128, 256, 512)),),
            parameters_m=136.9,
            imagenet="VGG16_Weights.IMAGENET1K_V1",
            stem="conv1_2",
        ),
    }
)


def detector_info(name: str) -> DetectorInfo:
    """Return what is known of a detector of the registry, of `timm:NAME`, or of one's own `package.module:builder`.

    Raises:
        ConfigError: no such name.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    if name.startswith(TIMM):
        return DetectorInfo(
            build="smoothiou.detectors.timm_fpn:build_timm_fpn",
            summary="a backbone of timm under torchvision's pyramid",
            anchors=_FPN,
            imagenet=name,
            options={"backbone": name.removeprefix(TIMM)},
        )
    if ":" in name:
        return DetectorInfo(build=name, summary="a detector of one's own", anchors=())
    hint = f"{did_you_mean(name, DETECTORS)} Others are timm:NAME, and package.module:builder for one of your own."
    raise ConfigError(f"{name!r} is no detector.", hint=hint)
