"""Anchors as TensorFlow's detectors lay them: unrounded, a fixed stride apart, centred from the image's corner on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image


class GridAnchors(AnchorGenerator):
    """Gives anchors of each scale and aspect ratio around (stride * column, stride * row).

        width = base * scale * sqrt(ratio);  height = base * scale / sqrt(ratio)

    torchvision's own anchors have their sides rounded to even numbers, and their stride is the image's side
    divided by the map's: 13 pixels, and not 16, where a map of 7 cells covers 97 pixels. In inference, and only
    there, anchors are clipped to the images as the original does.

    Args:
        scales: sides of the square anchors, in `base`.
        aspect_ratios: width / height (torchvision's are height / width).
        base: pixels.
        stride: pixels between neighbouring centres.

    Reference:
        TensorFlow Object Detection API, `grid_anchor_generator`.
    """

    def __init__(
        self,
        *,
        scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0),
        aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        base: float = 256.0,
        stride: int = 16,
    ) -> None:
        super().__init__(sizes=(scales,), aspect_ratios=(aspect_ratios,))
        self.stride = stride
        shapes = [(math.sqrt(ratio), scale) for ratio in aspect_ratios for scale in scales]
        half = torch.tensor([(0.5 * base * scale * root, 0.5 * base * scale / root) for root, scale in shapes])
        self.cell_anchors = [torch.cat((-half, half), dim=1)]

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
        if not self.training:
            height, width = image_list.tensors.shape[-2:]
            anchors = clip_boxes_to_image(anchors, (height, width))
        return [anchors for _ in image_list.image_sizes]
