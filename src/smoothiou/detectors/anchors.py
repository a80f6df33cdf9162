"""Anchors: torchvision's, TensorFlow's grid, and which anchors count where they leave their image."""

# No `from __future__ import annotations`: TorchScript reads the types of a module's attributes.

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image

from smoothiou.detectors.registry import AnchorLevel

Border = Literal["keep", "remove"]


def torchvision_anchors(levels: Sequence[AnchorLevel]) -> AnchorGenerator:
    """Return torchvision's generator of these anchors."""
    return AnchorGenerator(tuple(level.sizes for level in levels), tuple(level.ratios for level in levels))  # type: ignore[arg-type]


class BorderAnchors(AnchorGenerator):
    """torchvision's anchors; those that leave their image do not train, and propose in inference, as in Faster R-CNN.

    Args:
        levels: of each feature map.
        border: "remove" them in training, or "keep" them there too. The rows stay, marked in `usable`.

    Attributes:
        usable: of each image of the last batch, which anchors count, (anchors,) booleans.
    """

    def __init__(self, levels: Sequence[AnchorLevel], *, border: Border) -> None:
        super().__init__(tuple(level.sizes for level in levels), tuple(level.ratios for level in levels))  # type: ignore[arg-type]
        self.border = border
        self.usable: list[Tensor] = []

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the xyxy anchors (anchors, 4) of each image in pixels."""
        anchors = super().forward(image_list, feature_maps)
        if self.training and self.border == "remove":
            self.usable = [_inside(boxes, size) for boxes, size in zip(anchors, image_list.image_sizes, strict=True)]
        else:
            self.usable = [torch.ones_like(boxes[:, 0], dtype=torch.bool) for boxes in anchors]
        return anchors


class GridAnchors(AnchorGenerator):
    """TensorFlow's anchors: unrounded, around (stride * column, stride * row).

        width = size / sqrt(ratio);  height = size * sqrt(ratio)

    torchvision rounds sides to even numbers, and its stride is the image's side divided by the map's: 13 pixels, and
    not 16, where a map of 7 cells covers 97 pixels.

    Args:
        level: stride, sizes and ratios.
        border: anchors that leave their image: "keep" them as they are, as torchvision does, or "remove" them in
            training and clip them in inference, as TensorFlow does. The rows stay, marked in `usable`.

    Attributes:
        usable: of each image of the last batch, which anchors count, (anchors,) booleans.

    Reference:
        TensorFlow Object Detection API, `grid_anchor_generator` and `faster_rcnn_meta_arch`.
    """

    usable: list[Tensor]

    def __init__(self, level: AnchorLevel, *, border: Border = "keep") -> None:
        super().__init__((level.sizes,), (level.ratios,))  # type: ignore[arg-type]
        self.stride, self.border = level.stride, border
        shapes = [(size, math.sqrt(ratio)) for ratio in level.ratios for size in level.sizes]
        half = torch.tensor([(0.5 * size / root, 0.5 * size * root) for size, root in shapes])
        self.cell_anchors = [torch.cat((-half, half), dim=1)]
        self.usable = []

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the xyxy anchors (H * W * anchors per cell, 4) of each image in pixels, by row and column.

        Args:
            image_list: the batch.
            feature_maps: one map (images, channels, H, W).
        """
        feature = feature_maps[0]
        self.set_cell_anchors(feature.dtype, feature.device)
        stride = torch.tensor(self.stride)
        anchors = self.grid_anchors([list(feature.shape[-2:])], [[stride, stride]])[0]
        sizes = image_list.image_sizes
        if self.border == "remove" and not self.training:
            clipped = [clip_boxes_to_image(anchors, size) for size in sizes]
            # Those beyond the image, where the batch is larger, have no area left.
            self.usable = [(boxes[:, 2:] > boxes[:, :2]).all(dim=1) for boxes in clipped]
            return clipped
        if self.border == "remove":
            self.usable = [_inside(anchors, size) for size in sizes]
        else:
            self.usable = [torch.ones_like(anchors[:, 0], dtype=torch.bool)] * len(sizes)
        return [anchors] * len(sizes)


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    return (boxes == clip_boxes_to_image(boxes, size)).all(dim=1)


@dataclass(frozen=True, eq=False)
class LabelsOfUsableAnchors:
    """Replaces `assign_targets_to_anchors` of a region proposal network: unusable anchors match nothing.

    So a gt box is matched to the best of the usable anchors, which masking labels afterwards would not do.

    Args:
        rpn: with anchors that have `usable`.
    """

    rpn: RegionProposalNetwork

    def __call__(self, anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels, -1 for unusable anchors, and matched gt boxes of each image."""
        rpn: Any = self.rpn
        usable = rpn.anchor_generator.usable
        # A box without area, far away, overlaps nothing. The network's own class does the rest.
        moved = [boxes.masked_fill(~mask[:, None], -1e6) for boxes, mask in zip(anchors, usable, strict=True)]
        labels, matched = type(rpn).assign_targets_to_anchors(rpn, moved, targets)
        return [label.masked_fill(~mask, -1.0) for label, mask in zip(labels, usable, strict=True)], matched
