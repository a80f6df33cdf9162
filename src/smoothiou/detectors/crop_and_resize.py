"""TensorFlow's RoI op: crops by bilinear sampling from border to border, then a 2x2 maximum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign, roi_align

SLACK = 1e-4
"""Cells by which rounding may put a sample past the map's border, on which it then lies."""
BOX_CHUNK = 8
"""A box at the full width of 1024 pixels needs 2 MB between its two products. On a CPU chunks of 8 boxes took half the
time of 64, which no cache holds."""


def crop_and_resize(feature: Tensor, boxes: Tensor, *, cells: int) -> Tensor:
    """Return crops (K, C, cells, cells) of one map, as `tf.image.crop_and_resize` gives them.

        row i of a crop lies at  y1 * (H - 1) + i * (y2 - y1) * (H - 1) / (cells - 1),  columns likewise

    The first and the last sample lie on the box's sides, values between cells are bilinear, and samples outside the map
    are 0: neither RoIAlign (half-cell offset, several samples per cell) nor RoIPool. A crop is two small matrix
    products, of weights along rows and along columns.

    Args:
        feature: (C, H, W), float32 or float64.
        boxes: (K, 4) xyxy relative to the image, of the same type; they may leave [0, 1] and may be inverted.
        cells: samples along each side, 2 or more.
    """
    channels, height, width = feature.shape
    rows = _weights(boxes[:, 1], boxes[:, 3], cells=cells, size=height)
    columns = _weights(boxes[:, 0], boxes[:, 2], cells=cells, size=width)
    by_row = feature.permute(1, 2, 0).reshape(height, width * channels)
    crops = [
        torch.matmul(column[:, None], (row.reshape(-1, height) @ by_row).view(len(row), cells, width, channels))
        for row, column in zip(rows.split(BOX_CHUNK), columns.split(BOX_CHUNK), strict=True)
    ]
    return torch.cat(crops).permute(0, 3, 1, 2)


def _weights(low: Tensor, high: Tensor, *, cells: int, size: int) -> Tensor:
    """Return the bilinear weight of each of `size` map cells in each of `cells` samples, (K, cells, size)."""
    position, inside = _samples(low, high, cells=cells, size=size)
    position = position.clamp(0, size - 1)
    distance = (position[:, :, None] - torch.arange(size, device=low.device)).abs()
    return (1 - distance).clamp(min=0) * inside[:, :, None]


def _samples(low: Tensor, high: Tensor, cells: int, size: int, slack: float = SLACK) -> tuple[Tensor, Tensor]:
    """Return where the samples of boxes lie along one side of the map, (K, cells), and whether on the map."""
    step = (high - low) * (size - 1) / (cells - 1)
    position = low[:, None] * (size - 1) + torch.arange(cells, device=low.device) * step[:, None]
    return position, (position >= -slack) & (position <= size - 1 + slack)


class CropAndResize(MultiScaleRoIAlign):
    """The original detector's crops: 14x14 samples, then a 2x2 maximum.

    A `MultiScaleRoIAlign` by type only, which `FasterRCNN` asks for.

    Args:
        output_size: cells of a crop along each side, after the maximum.

    Reference:
        TensorFlow Object Detection API, `faster_rcnn_meta_arch` (`initial_crop_size` 14, `maxpool_kernel_size` 2);
        https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize.
    """

    def __init__(self, *, output_size: int = 7) -> None:
        super().__init__(featmap_names=["0"], output_size=output_size, sampling_ratio=1)
        self.cells = 2 * output_size

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the crops (boxes of all images, channels, output_size, output_size) in float32.

        Args:
            x: one feature map (images, channels, height, width) under the name "0".
            boxes: xyxy boxes (N, 4) of each image, in pixels of the resized image.
            image_shapes: (height, width) of the images before they were padded to the size of the largest, which
                is the size that the map covers.
        """
        feature = x["0"]
        height, width = (max(sides) for sides in zip(*image_shapes, strict=True))
        # A bf16 product would round the bilinear weights to three digits, so autocast stays out.
        with torch.autocast(feature.device.type, enabled=False):
            crops = [
                crop_and_resize(image.float(), _relative(each.float(), height, width), cells=self.cells)
                for image, each in zip(feature, boxes, strict=True)
            ]
        return F.max_pool2d(torch.cat(crops), 2)


class CropAndResizeByRoIAlign(CropAndResize):
    """The same crops in inference by torchvision's RoIAlign, which ONNX and TorchScript know.

    RoIAlign samples the middle of each cell: with half a step more on each side, a box's outer samples lie on its
    sides. Those beyond the map, where RoIAlign takes the border's value, become 0.
    """

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the crops (boxes of all images, channels, output_size, output_size).

        Args:
            x, boxes, image_shapes: as in `CropAndResize`, in float32.
        """
        feature = x["0"]
        height, width = max([sides[0] for sides in image_shapes]), max([sides[1] for sides in image_shapes])
        relative = _relative(torch.cat(boxes), height, width)
        rows, row_inside = _samples(relative[:, 1], relative[:, 3], cells=self.cells, size=feature.shape[2])
        columns, column_inside = _samples(relative[:, 0], relative[:, 2], cells=self.cells, size=feature.shape[3])
        first, last = torch.stack((columns[:, 0], rows[:, 0]), 1), torch.stack((columns[:, -1], rows[:, -1]), 1)
        half = (last - first) / (2 * (self.cells - 1))
        # RoIAlign counts from the border of the first cell, half a cell before its middle.
        regions = torch.cat((first - half, last + half), 1) + 0.5
        per_image = regions.split([each.shape[0] for each in boxes])
        crops = roi_align(feature, list(per_image), self.cells, sampling_ratio=1, aligned=True)
        inside = row_inside[:, None, :, None] & column_inside[:, None, None, :]
        return F.max_pool2d(crops.masked_fill(~inside, 0.0), 2)


def _relative(boxes: Tensor, height: int, width: int) -> Tensor:
    # By columns: a tensor of the sides would be copied to a GPU, and waited for.
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1 / width, y1 / height, x2 / width, y2 / height), -1)
