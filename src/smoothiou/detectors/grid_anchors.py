"""Anchors as TensorFlow's detectors lay them: unrounded, a fixed stride apart, centred from the image's corner on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image

Border = Literal["keep", "remove"]


class GridAnchors(AnchorGenerator):
    """Gives anchors of each scale and aspect ratio around (stride * column, stride * row).

        width = base * scale * sqrt(ratio);  height = base * scale / sqrt(ratio)

    torchvision's own anchors have their sides rounded to even numbers, and their stride is the image's side
    divided by the map's: 13 pixels, and not 16, where a map of 7 cells covers 97 pixels.

    Args:
        scales: sides of the square anchors, in `base`.
        aspect_ratios: width / height (torchvision's are height / width).
        base: pixels.
        stride: pixels between neighbouring centres.
        border: anchors that leave their image: "keep" them as they are, as torchvision does, or "remove" them in
            training and clip them in inference, as TensorFlow does. The rows stay, marked in `usable`.

    Reference:
        TensorFlow Object Detection API, `grid_anchor_generator` and `faster_rcnn_meta_arch`.
    """

    def __init__(
        self,
        *,
        scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0),
        aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        base: float = 256.0,
        stride: int = 16,
        border: Border = "keep",
    ) -> None:
        super().__init__(sizes=(scales,), aspect_ratios=(aspect_ratios,))
        self.stride, self.border = stride, border
        shapes = [(math.sqrt(ratio), scale) for ratio in aspect_ratios for scale in scales]
        half = torch.tensor([(0.5 * base * scale * root, 0.5 * base * scale / root) for root, scale in shapes])
        self.cell_anchors = [torch.cat((-half, half), dim=1)]
        self.usable: list[Tensor] = []
        """Of each image of the last batch, which anchors count (anchors,)."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return, for each image, xyxy anchors (H * W * anchors per cell, 4) in pixels: by row, column, ratio, scale.

        Args:
            image_list: the batch.
            feature_maps: one map (images, channels, H, W).
        """
        (feature,) = feature_maps
        self.set_cell_anchors(feature.dtype, feature.device)
        stride = torch.tensor(self.stride)
        anchors = self.grid_anchors([list(feature.shape[-2:])], [[stride, stride]])[0]
        clipped = [clip_boxes_to_image(anchors, size) for size in image_list.image_sizes]
        if self.border == "keep":
            self.usable = [torch.ones_like(anchors[:, 0], dtype=torch.bool)] * len(clipped)
        elif self.training:
            self.usable = [(own == anchors).all(dim=1) for own in clipped]
        else:  # those beyond the image, where the batch is larger, have no area left
            self.usable = [(own[:, 2:] > own[:, :2]).all(dim=1) for own in clipped]
            return clipped
        return [anchors for _ in clipped]


@dataclass(frozen=True, eq=False)
class LabelsOfUsableAnchors:
    """Stands in for `assign_targets_to_anchors` of a region proposal network: other anchors match nothing.

    Without them a truth box claims the best of the usable anchors, which leaving their labels out alone would not do.

    Args:
        rpn: with `GridAnchors`.
    """

    rpn: RegionProposalNetwork

    def __call__(self, anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the labels of each image's anchors, -1 for those that do not count, and their matched boxes."""
        rpn: Any = self.rpn
        usable = rpn.anchor_generator.usable
        # A box without area, far away, overlaps nothing. The network's own class does the rest.
        moved = [own.masked_fill(~fits[:, None], -1e6) for own, fits in zip(anchors, usable, strict=True)]
        labels, matched = type(rpn).assign_targets_to_anchors(rpn, moved, targets)
        return [own.masked_fill(~fits, -1.0) for own, fits in zip(labels, usable, strict=True)], matched
