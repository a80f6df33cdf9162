"""Faster R-CNN with Inception V2 as the paper's authors had it, in torchvision's stages."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors.anchors import Border, GridAnchors, LabelsOfUsableAnchors
from smoothiou.detectors.clip_after_nms import DetectionsClippedAfterNMS, ProposalsClippedAfterNMS
from smoothiou.detectors.crop_and_resize import CropAndResize
from smoothiou.detectors.inception_v2 import InceptionV2Features, InceptionV2Head, truncated_normal
from smoothiou.detectors.registry import DETECTORS
from smoothiou.detectors.roi_align import SparseRoIAlign
from smoothiou.detectors.tf_resize import TensorFlowTransform
from smoothiou.errors import ConfigError


class TwoLogitRPNHead(nn.Module):
    """The RPN's layers with two logits per anchor, background and object, as in TensorFlow.

    Their difference is the one logit that torchvision's network works with: a sigmoid of it is the softmax of
    the two, and cross entropies agree too. Both are kept because both learn: together they move twice as fast.

    Args:
        in_channels: of the feature map.
        anchors: per cell.
        channels: of the 3x3 layer.
    """

    def __init__(self, in_channels: int, anchors: int, *, channels: int = 512) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.cls_logits = nn.Conv2d(channels, 2 * anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        self.activation = nn.ReLU6()
        for layer in (self.conv, self.cls_logits, self.bbox_pred):
            truncated_normal(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return object logits (N, anchors, H, W) and deltas (N, 4 * anchors, H, W) of each map (N, C, H, W)."""
        hidden = [self.activation(self.conv(feature)) for feature in x]
        pairs = [self.cls_logits(each) for each in hidden]
        return [pair[:, 1::2] - pair[:, 0::2] for pair in pairs], [self.bbox_pred(each) for each in hidden]


def build_inception_v2(
    *,
    num_classes: int,
    pretrained: bool,
    roi_op: Literal["crop-and-resize", "roi-align"] = "crop-and-resize",
    border: Border | None = None,
    rpn_channels: int = 512,
    depth_multiplier: float = 1.0,
    **settings: Any,
) -> FasterRCNN:
    """Return Faster R-CNN with Inception V2, with random weights.

    By default as `faster_rcnn_inception_v2` of TensorFlow's Object Detection API: images in [-1, 1], not padded to
    multiples of 32; 300 proposals in training too, 64 of them sampled; suppression at 0.7 and 0.6. Left as torchvision
    has them: gt boxes join the proposals in training, and decoded sides stop at 62.5 anchor sides.

    Args:
        num_classes: classes, with the background.
        pretrained: whether weights will be loaded; then batch norms use their stored statistics in training too.
        roi_op: the second stage's crops, by `CropAndResize` or by RoIAlign, both 7x7.
        border: anchors that leave the image, "remove" or "keep" (see `GridAnchors`); None to remove them where weights
            are pretrained. From random weights, on small images, few others would be left to train: of 256 pixels,
            only those of the two smallest sizes.
        rpn_channels: of the RPN's 3x3 layer.
        depth_multiplier: factor on the widths of Inception V2.
        settings: further arguments of `torchvision.models.detection.FasterRCNN`.

    Raises:
        ConfigError: another `roi_op`.
    """
    border = border or ("remove" if pretrained else "keep")
    if roi_op not in ("crop-and-resize", "roi-align"):
        raise ConfigError(f"roi_op: expected crop-and-resize or roi-align, got {roi_op!r}.")
    (anchors,) = DETECTORS["inception-v2"].anchors
    backbone = InceptionV2Features(stored_statistics=pretrained, depth_multiplier=depth_multiplier)
    head = InceptionV2Head(backbone.out_channels, stored_statistics=pretrained, depth_multiplier=depth_multiplier)
    crops = CropAndResize() if roi_op == "crop-and-resize" else SparseRoIAlign(stride=anchors.stride)
    predictor = FastRCNNPredictor(head.out_channels, num_classes)
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    defaults = {
        "rpn_post_nms_top_n_train": 300,
        "rpn_post_nms_top_n_test": 300,
        "rpn_nms_thresh": 0.7,
        "box_nms_thresh": 0.6,
        "box_batch_size_per_image": 64,
        "size_divisible": 1,
    }
    model: Any = FasterRCNN(
        backbone,
        rpn_anchor_generator=GridAnchors(anchors, border=border),
        rpn_head=TwoLogitRPNHead(
            backbone.out_channels, len(anchors.sizes) * len(anchors.ratios), channels=rpn_channels
        ),
        box_roi_pool=crops,
        box_head=head,
        box_predictor=predictor,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        **{**defaults, **settings},
    )
    model.rpn.box_coder = BoxCoder(weights=model.roi_heads.box_coder.weights)  # torchvision's has 1, 1, 1, 1
    model.transform.__class__ = TensorFlowTransform
    if border == "remove":
        model.rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(model.rpn)
    model.rpn.filter_proposals = ProposalsClippedAfterNMS(model.rpn)
    model.roi_heads.postprocess_detections = DetectionsClippedAfterNMS(model.roi_heads)
    return model
