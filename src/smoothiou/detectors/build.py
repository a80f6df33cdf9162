"""Detectors by name, ready to train with a box loss of choice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torchvision.models import (
    MobileNet_V3_Large_Weights,
    ResNet18_Weights,
    ResNet50_Weights,
    VGG16_Weights,
    WeightsEnum,
)
from torchvision.models.detection import (
    FasterRCNN,
    FasterRCNN_MobileNet_V3_Large_FPN_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from smoothiou.detectors.inception_rcnn import build_inception_v2
from smoothiou.detectors.nano import build_nano
from smoothiou.detectors.precision import keep_boxes_in_float32
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.stage_loss import BoxLoss, torchvision_smooth_l1
from smoothiou.detectors.tf_flavour import keep_features, train_as_tensorflow
from smoothiou.detectors.tf_import import load_tf_checkpoint
from smoothiou.detectors.torchvision import set_box_loss
from smoothiou.detectors.vgg16 import build_vgg16, imagenet_names
from smoothiou.detectors.weights import (
    has_frozen_norms,
    load_checkpoint,
    load_coco,
    load_imagenet,
    read_checkpoint,
)
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.loss_spec import STAGES


def _nano(*, num_classes: int, frozen: bool, **settings: Any) -> FasterRCNN:
    return build_nano(num_classes=num_classes, **settings)


def _inception_v2(*, num_classes: int, frozen: bool, **settings: Any) -> FasterRCNN:
    # Imported weights never met an anchor that leaves the image. From random weights, on small images, most do.
    return build_inception_v2(
        num_classes=num_classes, stored_statistics=frozen, border="remove" if frozen else "keep", **settings
    )


def _vgg16(*, num_classes: int, frozen: bool, **settings: Any) -> FasterRCNN:
    # As for Inception V2; and edges that are not learnt yet must learn.
    return build_vgg16(num_classes=num_classes, frozen=frozen, border="remove" if frozen else "keep", **settings)


def _resnet_fpn(backbone_name: str) -> Callable[..., FasterRCNN]:
    def build(*, num_classes: int, frozen: bool, **settings: Any) -> FasterRCNN:
        backbone = resnet_fpn_backbone(
            backbone_name=backbone_name,
            weights=None,
            norm_layer=_norm(frozen),
            trainable_layers=3 if frozen else 5,
        )
        return FasterRCNN(backbone, num_classes=num_classes, **settings)

    return build


def _mobilenet_fpn(*, num_classes: int, frozen: bool, **settings: Any) -> FasterRCNN:
    backbone = mobilenet_backbone(
        backbone_name="mobilenet_v3_large",
        weights=None,
        fpn=True,
        norm_layer=_norm(frozen),
        trainable_layers=3 if frozen else 6,
    )
    # As in torchvision's fasterrcnn_mobilenet_v3_large_fpn. Its RPN score threshold of 0.05 is left out: it
    # would drop boxes from the mean IoU by their score.
    anchors = AnchorGenerator(sizes=((32, 64, 128, 256, 512),) * 3, aspect_ratios=((0.5, 1.0, 2.0),) * 3)
    return FasterRCNN(backbone, num_classes=num_classes, rpn_anchor_generator=anchors, **settings)


def _norm(frozen: bool) -> Callable[..., nn.Module]:
    # Pretrained statistics are better than those of a few images; random weights have none to keep.
    return FrozenBatchNorm2d if frozen else nn.BatchNorm2d


TENSORFLOW = "tf:"
"""Before the path of a TensorFlow checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    """How a detector is built, which weights torchvision offers for it, and whether it reads TensorFlow's."""

    build: Callable[..., FasterRCNN]
    summary: str
    imagenet: WeightsEnum | None = None
    imagenet_names: Mapping[str, str] | None = None
    coco: WeightsEnum | None = None
    coco_zero_eps: bool = False
    tensorflow: bool = False

    @property
    def offers(self) -> tuple[str, ...]:
        """Words that `weights` may be, beside a path."""
        words = tuple(word for word in ("imagenet", "coco") if getattr(self, word) is not None)
        return ("none", *words, *((f"{TENSORFLOW}PATH",) if self.tensorflow else ()))


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "nano": Detector(build=_nano, summary="2.7 million parameters, learns from random weights on a CPU"),
        "resnet18-fpn": Detector(
            build=_resnet_fpn("resnet18"),
            summary="28 million parameters",
            imagenet=ResNet18_Weights.IMAGENET1K_V1,
        ),
        "resnet50-fpn": Detector(
            build=_resnet_fpn("resnet50"),
            summary="41 million parameters, torchvision's standard",
            imagenet=ResNet50_Weights.IMAGENET1K_V1,
            coco=FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
            coco_zero_eps=True,
        ),
        "mobilenet-v3-fpn": Detector(
            build=_mobilenet_fpn,
            summary="19 million parameters, light on a GPU",
            imagenet=MobileNet_V3_Large_Weights.IMAGENET1K_V1,
            coco=FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
        ),
        "inception-v2": Detector(
            build=_inception_v2,
            summary="13 million parameters, the paper's; reads TensorFlow's checkpoints",
            tensorflow=True,
        ),
        "vgg16": Detector(
            build=_vgg16,
            summary="137 million parameters, of the original Faster R-CNN, the paper's baseline",
            imagenet=VGG16_Weights.IMAGENET1K_V1,
            imagenet_names=MappingProxyType(dict(imagenet_names())),
        ),
    }
)


def build_detector(
    name: str,
    *,
    num_classes: int,
    loss: str | BoxLoss | Callable[..., Tensor] | None = "smooth-iou",
    weights: str | Path | None = None,
    stages: Sequence[str] = STAGES,
    loss_weight: float = 1.0,
    min_size: int = 240,
    max_size: int = 320,
    proposals: int = 300,
    score_threshold: float = 0.01,
    max_detections: int = 100,
    nms: float = 0.5,
    tf_compat: bool = False,
    roi_dropout: float | None = None,
) -> nn.Module:
    """Return a two-stage detector by name, with a box loss in its stages.

    Called in training mode with images (float, [0, 1]) and targets it returns the four losses, else
    detections. Targets may hold "ignore" boxes; boxes and losses are float32 under autocast too. What the
    weights did not cover is said in its attribute `notes`, a tuple of sentences.

    Args:
        name: "nano", "resnet18-fpn", "resnet50-fpn", "mobilenet-v3-fpn", "inception-v2" or "vgg16" (see `DETECTORS`).
        num_classes: classes, without the background; 1 or more.
        loss: as in `set_box_loss`; None for torchvision's own smooth L1.
        weights: None or "none", "imagenet" or "coco" where torchvision offers them (both download), the path of
            a checkpoint, or "tf:PATH" for inception-v2, of TensorFlow's `faster_rcnn_inception_v2`.
        stages: "rpn", "roi", or both; the others keep torchvision's own loss.
        loss_weight: factor on the loss in these stages.
        min_size: short side of the resized image in pixels ...
        max_size: ... unless the long side would exceed this.
        proposals: second-stage boxes per image in inference, at most.
        score_threshold: detections below it are left out.
        max_detections: detections per image, at most.
        nms: IoU above which a lower-scored detection of the same class is suppressed.
        tf_compat: sample and resize as TensorFlow's API (see `train_as_tensorflow`).
        roi_dropout: share of the features that dropout zeroes before the last layers in training; None: the
            detector's own, which is 0, but for vgg16 0.5.

    Raises:
        ConfigError: an unknown name, loss, stage or kind of weights.
        CheckpointError: weights that cannot be read, downloaded, or do not fit.
    """
    word = check_name_and_weights(name, weights)
    if num_classes < 1:
        raise ConfigError(f"num_classes: expected 1 or more, without the background, got {num_classes}.")
    if roi_dropout is not None and not 0 <= roi_dropout < 1:
        raise ConfigError(f"roi_dropout: expected a share, or None for the detector's own, got {roi_dropout!r}.")
    detector = DETECTORS[name]
    state = read_checkpoint(str(weights)) if word == "path" else None
    model: Any = detector.build(
        num_classes=num_classes + 1,
        frozen=word in ("imagenet", "coco", "tf") or (state is not None and has_frozen_norms(state)),
        min_size=min_size,
        max_size=max_size,
        rpn_pre_nms_top_n_test=max(1000, 2 * proposals),
        rpn_post_nms_top_n_test=proposals,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms,
        box_detections_per_img=max_detections,
    )
    if type(model.roi_heads.box_roi_pool) is MultiScaleRoIAlign:
        model.roi_heads.box_roi_pool.__class__ = PyramidRoIAlign
    if tf_compat:
        train_as_tensorflow(model, proposals=proposals)
    if roi_dropout is not None:
        keep_features(model, 1 - roi_dropout)
    set_box_loss(model, torchvision_smooth_l1)
    if loss is not None:
        set_box_loss(model, loss, stages=stages, weight=loss_weight)
    keep_boxes_in_float32(model)
    model.notes = ()
    if state is not None:
        load_checkpoint(model, state, source=str(weights))
    elif word == "tf":
        model.notes = (load_tf_checkpoint(model, str(weights).removeprefix(TENSORFLOW)).note,)
    elif word == "imagenet" and detector.imagenet is not None:
        model.notes = (load_imagenet(model, detector.imagenet, names=detector.imagenet_names),)
    elif word == "coco" and detector.coco is not None:
        model.notes = (load_coco(model, detector.coco, zero_eps=detector.coco_zero_eps),)
    return model


def check_name_and_weights(name: str, weights: str | Path | None) -> str:
    """Return "none", "imagenet", "coco", "tf" or "path", without reading or downloading anything.

    Raises:
        ConfigError: an unknown detector, or weights that it has not.
    """
    if name not in DETECTORS:
        raise ConfigError(f"{name!r} is no detector.", hint=did_you_mean(str(name), DETECTORS))
    if weights is None:
        return "none"
    text = str(weights)
    offers = DETECTORS[name].offers
    if text.startswith(TENSORFLOW):
        if not DETECTORS[name].tensorflow:
            raise ConfigError(f"{name}: it reads no TensorFlow checkpoints.", hint="The detector inception-v2 does.")
        if text in (TENSORFLOW, f"{TENSORFLOW}PATH"):
            raise ConfigError(f"weights: {text!r} names no file.", hint="Write tf:FOLDER/model.ckpt.")
        return "tf"
    if text in offers:
        return text
    if text in ("imagenet", "coco"):
        raise ConfigError(f"{name}: there are no {text} weights.", hint=f"There are: {', '.join(offers)}.")
    looks_like_path = isinstance(weights, Path) or os.sep in text or Path(text).suffix or Path(text).exists()
    if not looks_like_path:
        raise ConfigError(f"weights: {text!r} is no file and no kind.", hint=did_you_mean(text, offers))
    return "path"
