"""Detectors by name, ready to train with a box loss of choice."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_weight
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads

from smoothiou.detectors.box_loss import set_box_loss
from smoothiou.detectors.cascade import make_cascade
from smoothiou.detectors.dropout import set_roi_dropout
from smoothiou.detectors.freeze import freeze_layers
from smoothiou.detectors.precision import keep_boxes_in_float32, keep_depthwise_in_float32, pad_boxes_to_blocks
from smoothiou.detectors.pretrained import (
    Weights,
    coco_weights,
    has_frozen_norms,
    load_checkpoint,
    load_coco,
    load_imagenet,
    read_weights,
)
from smoothiou.detectors.registry import TENSORFLOW, DetectorInfo, detector_info
from smoothiou.detectors.take_over import is_backbone_alone, take_over
from smoothiou.detectors.tensor_cache import TensorCache
from smoothiou.detectors.tf_compat import train_as_tensorflow
from smoothiou.detectors.tf_import import load_tf_checkpoint
from smoothiou.detectors.torchvision_losses import torchvision_smooth_l1
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.import_object import import_object
from smoothiou.losses import BoxLoss

MATCHES_MB = 64
"""Memory for which gt box each anchor is for, of photos that come again: 40 kB each at 240x320 pixels and stride 8."""


def build_detector(
    name: str,
    *,
    num_classes: int,
    loss: str | BoxLoss | None = "smooth-iou",
    weights: str | Path | None = None,
    stages: Sequence[str] | None = None,
    loss_weight: float = 1.0,
    min_size: int = 240,
    max_size: int = 320,
    proposals: int = 300,
    score_threshold: float = 0.01,
    max_detections: int = 100,
    nms: float = 0.5,
    tf_compat: bool = False,
    roi_dropout: float | None = None,
    classes: Sequence[str] | None = None,
    freeze: str = "auto",
    cascade: int | None = None,
) -> nn.Module:
    """Return a two-stage detector by name, with a box loss in its stages.

    In training mode it takes images (float, [0, 1]) and targets and returns the four losses, else detections. Targets
    may hold "ignore" boxes; boxes and losses are float32 under autocast too. Its attribute `notes` is a tuple of
    sentences that say what the weights did not cover.

    Args:
        name: a key of `DETECTORS`, `timm:NAME` for any backbone of timm with a pyramid of maps, or
            `package.module:builder` for one of your own (see `DetectorInfo.build`).
        num_classes: classes, without the background; 1 or more.
        loss: as in `set_box_loss`; None for torchvision's own smooth L1.
        weights: None or "auto" for ImageNet's where they are installed (lite0), else random ones; "none"; "imagenet" or
            "coco" where there are such (which may download them), the path of a run folder or a checkpoint, or
            "tf:PATH" for inception-v2, of TensorFlow's `faster_rcnn_inception_v2`.
        stages: "rpn", "roi", or both; the others keep torchvision's own loss. None: all.
        loss_weight: factor on the loss in these stages.
        min_size: short side of the resized image in pixels ...
        max_size: ... unless the long side would exceed this.
        proposals: second-stage boxes per image in inference, at most.
        score_threshold: detections with a lower score are left out.
        max_detections: detections per image, at most.
        nms: IoU above which a lower-scored detection of the same class is suppressed.
        tf_compat: whether to sample and resize as TensorFlow's Object Detection API (see `train_as_tensorflow`).
        roi_dropout: share of the features dropped before the last layers in training, in [0, 1); None for the
            detector's own, which is 0, and 0.5 for vgg16.
        classes: names of the classes. With them, what fits of a checkpoint is taken over (see `take_over`); without
            them, it must be of this detector and fit exactly.
        freeze: layers of the backbone that keep their weights: "auto" for the detector's own choice, else see
            `freeze_layers`.
        cascade: number of second stages in a row, each on the boxes of the one before (see `make_cascade`); their box
            losses are the stages "roi", "roi2", "roi3", ... None: the detector's own, 3 for lite0-cascade, else 1.

    Raises:
        ConfigError: an unknown name, loss, stage, kind of weights or layer, or a number out of range.
        CheckpointError: weights that cannot be read, downloaded, or do not fit.
    """
    kind = check_name_and_weights(name, weights)
    if num_classes < 1:
        raise ConfigError(f"num_classes: expected 1 or more, without the background, got {num_classes}.")
    info = detector_info(name)
    coco = get_weight(info.coco) if info.coco else None
    file = read_weights(str(weights), coco=coco) if kind == "path" else None
    model: Any = _call(
        info,
        num_classes=num_classes + 1,
        pretrained=kind in ("imagenet", "coco", "tf") or (file is not None and _keeps_norms(file.state)),
        min_size=min_size,
        max_size=max_size,
        rpn_pre_nms_top_n_test=max(1000, 2 * proposals),
        rpn_post_nms_top_n_test=proposals,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms,
        box_detections_per_img=max_detections,
    )
    make_cascade(model, info.cascade if cascade is None else cascade)
    if tf_compat:
        train_as_tensorflow(model, proposals=proposals)
    if roi_dropout is not None:
        set_roi_dropout(model, roi_dropout)
    set_box_loss(model, torchvision_smooth_l1)
    if loss is not None:
        set_box_loss(model, loss, stages=stages, weight=loss_weight)
    keep_boxes_in_float32(model)
    keep_depthwise_in_float32(model)
    pad_boxes_to_blocks(model)
    model.rpn.match_cache = TensorCache(memory_mb=MATCHES_MB)
    if kind == "coco" and coco is not None and classes is not None:
        file = coco_weights(coco)
    if file is not None and classes is not None:
        model.notes = take_over(model, file, classes=classes)
    else:
        model.notes = _load_exactly(model, kind, info, file, source=str(weights))
    if freeze != "auto":
        freeze_layers(model, freeze, stem=info.stem)
        if kind == "none" and freeze != "none":
            model.notes += (f"model.freeze = {freeze} keeps random weights: no others were named with --weights.",)
    return model


def _load_exactly(
    model: nn.Module, kind: str, info: DetectorInfo, file: Weights | None, *, source: str
) -> tuple[str, ...]:
    """Load weights that are of this detector, and return sentences on what they did not cover."""
    if file is not None:
        load_checkpoint(model, file.state, source=source)
    elif kind == "tf":
        return (load_tf_checkpoint(model, source.removeprefix(TENSORFLOW)).note,)
    elif kind == "imagenet":
        return (load_imagenet(model, info.imagenet),)
    elif kind == "coco":
        return (load_coco(model, get_weight(info.coco)),)
    return ()


def _keeps_norms(state: Mapping[str, Tensor]) -> bool:
    """Return whether batch norms should keep the statistics of a checkpoint, as those of ImageNet are kept."""
    return has_frozen_norms(state) or is_backbone_alone(state)


def check_name_and_weights(name: str, weights: str | Path | None) -> str:
    """Return "none", "imagenet", "coco", "tf" or "path", without reading or downloading anything.

    Raises:
        ConfigError: an unknown detector, or weights that it does not offer.
    """
    info = detector_info(name)
    text, offers = str(weights), info.offers
    if weights is None or text == "auto":
        return "imagenet" if info.installed else "none"
    if text.startswith(TENSORFLOW):
        if not info.tensorflow:
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


def _call(info: DetectorInfo, **settings: Any) -> nn.Module:
    """Call the builder of a detector.

    Raises:
        ConfigError: one's own takes other arguments, or returns no Faster R-CNN.
    """
    builder = import_object(info.build)
    try:
        inspect.signature(builder).bind(**info.options, **settings)
    except (TypeError, ValueError) as error:
        hint = "It is called with num_classes (background included), pretrained, and settings of FasterRCNN."
        raise ConfigError(f"{info.build}: {error}.", hint=f"{hint} Give it **settings.") from None
    model = builder(**info.options, **settings)
    if not isinstance(model, GeneralizedRCNN) or not isinstance(model.roi_heads, RoIHeads):
        raise ConfigError(f"{info.build} returned {type(model).__name__}, expected torchvision's FasterRCNN.")
    return model
