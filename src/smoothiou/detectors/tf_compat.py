"""Training as TensorFlow's Object Detection API does it: how boxes are sampled and images resized."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from smoothiou.detectors.anchors import GridAnchors, LabelsOfUsableAnchors
from smoothiou.detectors.tf_resize import TensorFlowTransform


def train_as_tensorflow(model: nn.Module, *, proposals: int = 300) -> None:
    """Make a torchvision Faster R-CNN train as TensorFlow's would, in place; parameters stay as they are.

    - The second stage trains on the first stage's proposals alone, `proposals` at most: gt boxes do not join them, so
      that early in training few of the boxes are good. Of an image 64 are sampled, at most 16 positive (IoU of 0.5 and
      above). The first stage samples 256 anchors, at most half of them positive, as torchvision's does.
    - Images are resized with TensorFlow 1's sizes and filter, in inference too.
    - With `GridAnchors`, anchors that leave the image do not train, and are clipped in inference.

    torchvision's limit of decoded sides at 62.5 anchor sides stays: the smallest anchor of `inception-v2`, 45 pixels,
    then reaches 2829, beyond any image of 1024, and boxes are clipped to the image.

    Args:
        model: the detector.
        proposals: of an image in training, after suppression.

    Reference:
        TensorFlow Object Detection API, `faster_rcnn_meta_arch` and `faster_rcnn_inception_v2_pets.config`.
    """
    parts: Any = model
    heads, rpn = parts.roi_heads, parts.rpn
    heads.fg_bg_sampler.batch_size_per_image = 64
    heads.fg_bg_sampler.positive_fraction = 0.25
    heads.add_gt_proposals = add_no_gt_proposals
    rpn._post_nms_top_n["training"] = proposals
    rpn._pre_nms_top_n["training"] = max(rpn._pre_nms_top_n["training"], proposals)
    parts.transform.__class__ = TensorFlowTransform
    if isinstance(rpn.anchor_generator, GridAnchors):
        rpn.anchor_generator.border = "remove"
        rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(rpn)


def add_no_gt_proposals(proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
    """Replace `add_gt_proposals` of the second stage.

    An image without any proposal gets its gt boxes (M, 4), since nothing could be sampled from none.
    """
    return [boxes if len(boxes) else gt for boxes, gt in zip(proposals, gt_boxes, strict=True)]
