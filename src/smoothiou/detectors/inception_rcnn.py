"""Faster R-CNN with Inception V2 as the paper's authors had it, in torchvision's stages."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from smoothiou.boxes import DELTA_WEIGHTS, Weights
from smoothiou.detectors.clip_after_nms import DetectionsClippedAfterNMS, ProposalsClippedAfterNMS
from smoothiou.detectors.crop_and_resize import CropAndResize
from smoothiou.detectors.grid_anchors import Border, GridAnchors, LabelsOfUsableAnchors
from smoothiou.detectors.inception_v2 import InceptionV2Features, InceptionV2Head, truncated_normal
from smoothiou.detectors.roi_align import SeparableRoIAlign
from smoothiou.detectors.tf_resize import TensorFlowTransform
from smoothiou.errors import ConfigError

STRIDE = 16
CELLS = 7
PROPOSALS = 300
SAMPLED = 64


class TwoLogitRPNHead(nn.Module):
    """A region proposal network's layers with two logits per anchor, background and object, as in TensorFlow.

    Their difference is the one logit that torchvision's network works with: a sigmoid of it is the softmax of
    the two, and cross entropies agree too. Both are kept because both learn: together they move twice as fast.

    Args:
        inputs: channels of the feature map.
        anchors: per cell.
        channels: of the 3x3 layer.
        relu6: whether that layer's output is cut off at 6, as in the original, or not.
    """

    def __init__(self, inputs: int, anchors: int, *, channels: int = 512, relu6: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1)
        self.cls_logits = nn.Conv2d(channels, 2 * anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        self.activation = nn.ReLU6() if relu6 else nn.ReLU()
        for layer in (self.conv, self.cls_logits, self.bbox_pred):
            truncated_normal(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return object logits (N, anchors, H, W) and deltas (N, 4 * anchors, H, W) of each map (N, inputs, H, W)."""
        hidden = [self.activation(self.conv(feature)) for feature in x]
        pairs = [self.cls_logits(each).unflatten(1, (-1, 2)) for each in hidden]
        return [pair[:, :, 1] - pair[:, :, 0] for pair in pairs], [self.bbox_pred(each) for each in hidden]


def build_inception_v2(
    *,
    num_classes: int,
    stored_statistics: bool,
    anchor_scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0),
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    code_weights: Weights = DELTA_WEIGHTS,
    relu6: bool = True,
    roi_op: Literal["crop-and-resize", "roi-align"] = "crop-and-resize",
    clip: Literal["after-nms", "before-nms"] = "after-nms",
    border: Border = "remove",
    resize: Literal["tensorflow", "torchvision"] = "tensorflow",
    rpn_channels: int = 512,
    depth_multiplier: float = 1.0,
    **settings: Any,
) -> FasterRCNN:
    """Return Faster R-CNN with Inception V2, with random weights.

    By default as `faster_rcnn_inception_v2` of TensorFlow's Object Detection API: images in [-1, 1], not padded
    to multiples of 32; 300 proposals in training too, 64 of them sampled; suppression at 0.7 and 0.6. Left as
    torchvision has them: truth boxes join the proposals in training, and decoded sides stop at 62.5 anchor sides.

    Args:
        num_classes: classes, with the background.
        stored_statistics: as in `InceptionV2Features`.
        anchor_scales: sides of square anchors in units of 256 pixels.
        anchor_ratios: width / height of the anchors.
        code_weights: factors on the deltas of both stages (torchvision's first stage has 1, 1, 1, 1).
        relu6: whether the RPN's 3x3 layer is cut off at 6.
        roi_op: the second stage's crops, by `CropAndResize` or by RoIAlign, both 7x7.
        clip: boxes to the image "after-nms" with all proposals suppressed together, or "before-nms" among the
            first thousands, as torchvision does, in both stages.
        border: anchors that leave the image, "remove" or "keep" (see `GridAnchors`). Small images have few others:
            of 256 pixels, only those of the two smallest scales would learn. With "before-nms" removed anchors
            learn nothing, but still propose.
        resize: with TensorFlow's sizes and filter or with torchvision's.
        rpn_channels: of the RPN's 3x3 layer.
        depth_multiplier: factor on the widths of Inception V2.
        settings: further arguments of `torchvision.models.detection.FasterRCNN`.

    Raises:
        ConfigError: an option has none of the values that are named here.
    """
    for option, value, choices in (
        ("roi_op", roi_op, ("crop-and-resize", "roi-align")),
        ("clip", clip, ("after-nms", "before-nms")),
        ("border", border, ("remove", "keep")),
        ("resize", resize, ("tensorflow", "torchvision")),
    ):
        if value not in choices:
            raise ConfigError(f"{option}: expected {' or '.join(choices)}, got {value!r}.")
    backbone = InceptionV2Features(stored_statistics=stored_statistics, depth_multiplier=depth_multiplier)
    head = InceptionV2Head(
        backbone.out_channels, stored_statistics=stored_statistics, depth_multiplier=depth_multiplier
    )
    pools: dict[str, MultiScaleRoIAlign] = {
        "crop-and-resize": CropAndResize(output_size=CELLS),
        "roi-align": SeparableRoIAlign(stride=STRIDE, output_size=CELLS),
    }
    predictor = FastRCNNPredictor(head.out_channels, num_classes)
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    defaults = {
        "rpn_post_nms_top_n_train": PROPOSALS,
        "rpn_post_nms_top_n_test": PROPOSALS,
        "rpn_nms_thresh": 0.7,
        "box_nms_thresh": 0.6,
        "box_batch_size_per_image": SAMPLED,
        "size_divisible": 1,
    }
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=GridAnchors(
            scales=anchor_scales, aspect_ratios=anchor_ratios, stride=STRIDE, border=border
        ),
        rpn_head=TwoLogitRPNHead(
            backbone.out_channels, len(anchor_scales) * len(anchor_ratios), channels=rpn_channels, relu6=relu6
        ),
        box_roi_pool=pools[roi_op],
        box_head=head,
        box_predictor=predictor,
        bbox_reg_weights=code_weights,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        **{**defaults, **settings},
    )
    parts: Any = model
    parts.rpn.box_coder = BoxCoder(weights=code_weights)
    if resize == "tensorflow":
        parts.transform.__class__ = TensorFlowTransform
    if border == "remove":
        parts.rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(parts.rpn)
    if clip == "after-nms":
        parts.rpn.filter_proposals = ProposalsClippedAfterNMS(parts.rpn)
        parts.roi_heads.postprocess_detections = DetectionsClippedAfterNMS(parts.roi_heads)
    return model
