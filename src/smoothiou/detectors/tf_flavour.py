"""Training as TensorFlow's Object Detection API does it: who is sampled, how images are resized, where dropout acts."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors.grid_anchors import GridAnchors, LabelsOfUsableAnchors
from smoothiou.detectors.tf_resize import TensorFlowTransform
from smoothiou.detectors.vgg16 import VGG16Head
from smoothiou.errors import ConfigError

Model = TypeVar("Model", bound=nn.Module)

SAMPLED = 64
POSITIVE_SHARE = 0.25


def train_as_tensorflow(model: Model, *, proposals: int = 300) -> Model:
    """Make a torchvision Faster R-CNN train on what TensorFlow's would, in place; parameters stay as they are.

    - The second stage learns from the first stage's proposals alone, `proposals` at most: truth boxes do not join them,
      so that early in training few of the boxes it sees are good. Of an image 64 are sampled, at most 16 positive
      (IoU of 0.5 and above). The first stage samples 256 anchors, half of them positive at most, in both.
    - Images are resized with TensorFlow 1's sizes and filter, in inference too.
    - With `GridAnchors`, anchors that leave the image do not learn, and are clipped in inference.

    Kept is torchvision's limit of decoded sides at 62.5 anchor sides: the smallest anchor of `inception-v2`, 45 pixels,
    reaches 2829 then, beyond any image of 1024, and boxes are clipped to the image.

    Args:
        model: the detector.
        proposals: of an image in training, after suppression.

    Returns:
        The same model.

    Reference:
        TensorFlow Object Detection API, `faster_rcnn_meta_arch` and `faster_rcnn_inception_v2_pets.config`.
    """
    parts: Any = model
    heads, rpn = parts.roi_heads, parts.rpn
    heads.fg_bg_sampler.batch_size_per_image = SAMPLED
    heads.fg_bg_sampler.positive_fraction = POSITIVE_SHARE
    heads.add_gt_proposals = proposals_alone
    rpn._post_nms_top_n["training"] = proposals
    rpn._pre_nms_top_n["training"] = max(rpn._pre_nms_top_n["training"], proposals)
    parts.transform.__class__ = TensorFlowTransform
    if isinstance(rpn.anchor_generator, GridAnchors):
        rpn.anchor_generator.border = "remove"
        rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(rpn)
    return model


def proposals_alone(proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
    """Stand in for `add_gt_proposals` of the second stage and add no truth boxes.

    Args:
        proposals: (N, 4) of each image.
        gt_boxes: (M, 4) of each image, used where there is no proposal at all, from which nothing could be sampled.
    """
    return [own if len(own) else truth for own, truth in zip(proposals, gt_boxes, strict=True)]


class DropoutPredictor(FastRCNNPredictor):
    """The second stage's last layers with dropout before each, by independent masks, as TensorFlow's box predictor.

        x_i <- x_i * m_i / keep,   m_i = 1 with probability keep, else 0;   in training only

    Its parameters and their names are those of `FastRCNNPredictor`.
    """

    keep = 1.0
    drop = staticmethod(F.dropout)
    """Another function where several processes share a batch (`share_batch`)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (K, classes) and deltas (K, 4 * classes) of features (K, C)."""
        drop, x = 1 - self.keep, x.flatten(start_dim=1)
        for_classes, for_boxes = (self.drop(x, drop, training=self.training) for _ in range(2))
        return self.cls_score(for_classes), self.bbox_pred(for_boxes)


def keep_features(model: Model, keep: float) -> Model:
    """Let dropout leave this share of the features before the second stage's last layers, in place.

    VGG-16 has dropout of its own, behind each hidden layer of its second stage, which then leaves this share.

    Args:
        model: the detector.
        keep: probability that a number stays, above 0 and at most 1.

    Returns:
        The same model.

    Raises:
        ConfigError: the last layers are not torchvision's.
    """
    heads: Any = getattr(model, "roi_heads", None)
    if isinstance(getattr(heads, "box_head", None), VGG16Head):
        heads.box_head.keep = keep
        return model
    predictor: Any = getattr(heads, "box_predictor", None)
    if type(predictor) not in (FastRCNNPredictor, DropoutPredictor):
        raise ConfigError(f"keep: expected torchvision's last layers, got {type(predictor).__name__}.")
    if keep < 1:
        predictor.__class__ = DropoutPredictor
    predictor.keep = keep
    return model
