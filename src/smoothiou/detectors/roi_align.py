"""RoIAlign as matrix products: torchvision's values, faster on a CPU, and deterministic on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign

from smoothiou.boxes import in_float

BOX_CHUNK = 16
"""Boxes per matrix product of the backward pass on a CPU: what lies between its two products (1 MB) stays in a core's
cache. All 128 boxes of an image together took 1.4 times as long."""


def sample_positions(low: Tensor, high: Tensor, size: int | Tensor, *, cells: int, ratio: int) -> tuple[Tensor, Tensor]:
    """Return where RoIAlign samples along one side, and whether the map covers it.

    Args:
        low, high: (K,) begin and end of each box, in cells of its map.
        size: cells of the map, one number or (K,).
        cells: cells of a crop along this side.
        ratio: samples per cell.

    Returns:
        Positions (K, cells * ratio), clamped to the map, and (K, cells * ratio) booleans: torchvision takes 0 from more
        than one cell outside the map, the border's value from nearer by.
    """
    count = cells * ratio
    step = (high - low).clamp(min=1.0) / count
    position = low[:, None] + (torch.arange(count, device=low.device) + 0.5) * step[:, None]
    if isinstance(size, Tensor):
        size = size[:, None]
        return position.clamp(min=0).minimum(size - 1), (position >= -1.0) & (position <= size)
    return position.clamp(0, size - 1), (position >= -1.0) & (position <= size)


def bilinear_taps(low: Tensor, high: Tensor, size: int | Tensor, *, cells: int, ratio: int) -> tuple[Tensor, Tensor]:
    """Return the map cells that a cell of the crop is a weighted sum of, along one side.

    Args:
        low, high, size, cells, ratio: as in `sample_positions`.

    Returns:
        Indices and weights, each (K, cells, 2 * ratio): a sample lies between two cells. An index may come twice.
    """
    position, inside = sample_positions(low, high, size, cells=cells, ratio=ratio)
    last = size[:, None] - 1 if isinstance(size, Tensor) else torch.full_like(position[:, :1], size - 1)
    # For a box that is not finite the weights are NaN, as they should be, but the indices must stay on the map.
    first = position.nan_to_num(0.0).floor()
    fraction = position - first
    second = (first + 1).minimum(last)
    shape = (len(low), cells, 2 * ratio)
    weights = torch.stack((1 - fraction, fraction), -1) * (inside[..., None] / ratio)
    return torch.stack((first, second), -1).to(torch.int64).view(shape), weights.view(shape)


def outer_taps(
    rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], width: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the taps of a crop's cells in a map laid out row by row.

    Args:
        rows, columns: of `bilinear_taps`, (K, cells, taps) each.
        width: cells in a row of the map, one number or (K,).

    Returns:
        Indices and weights, (K * cells * cells, taps * taps).
    """
    width = width[:, None, None, None, None] if isinstance(width, Tensor) else width
    count = rows[0].shape[-1] ** 2
    index = rows[0][:, :, None, :, None] * width + columns[0][:, None, :, None, :]
    weight = rows[1][:, :, None, :, None] * columns[1][:, None, :, None, :]
    return index.reshape(-1, count), weight.reshape(-1, count)


class SeparableRoIAlign(MultiScaleRoIAlign):
    """RoIAlign on one feature map as matrix products.

        crop = rows @ feature @ columns.T,  in each channel

    Bilinear weights and the mean over a bin's samples both factor into a vertical and a horizontal part. Forward is a
    product with a sparse matrix, of 16 cells of the map for one of the crop; backward, on small maps, the two dense
    products are faster. torchvision's backward kernel loops over the samples, serially on a CPU, with atomic additions
    on a GPU.

    Args:
        stride: pixels of the image per cell of the feature map.
        output_size: cells of a crop along each side.
        sampling_ratio: samples per cell along each side, 1 or more.

    Reference:
        He et al., Mask R-CNN, https://arxiv.org/abs/1703.06870, section 3; `torchvision.ops.roi_align` with
        `aligned=False`, the setting of torchvision's detectors.
    """

    def __init__(self, *, stride: int, output_size: int = 7, sampling_ratio: int = 2) -> None:
        super().__init__(featmap_names=["0"], output_size=output_size, sampling_ratio=sampling_ratio)
        self.stride = stride
        self.cells = output_size

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the crops (boxes of all images, channels, cells, cells) in at least float32.

        Args:
            x: one feature map (images, channels, height, width) under the name "0".
            boxes: xyxy boxes (N, 4) of each image, in pixels of the resized image.
            image_shapes: not used; torchvision passes it.
        """
        feature = in_float(x["0"])
        corners = torch.cat(boxes).to(feature.dtype) / self.stride
        # A bf16 product would round the bilinear weights to three digits, so autocast stays out.
        with torch.autocast(feature.device.type, enabled=False):
            crops: Any = _Crops.apply(feature, corners, [len(each) for each in boxes], self.cells, self.sampling_ratio)
        return crops


class _Crops(torch.autograd.Function):
    """Crops of one map: forward a sparse product, backward two dense ones. Boxes get no gradient."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor, corners: Tensor, counts: list[int], cells: int, ratio: int) -> Tensor:
        _, channels, height, width = feature.shape
        options = {"cells": cells, "ratio": ratio}
        x1, y1, x2, y2 = corners.unbind(1)
        ctx.save_for_backward(
            _dense(*sample_positions(y1, y2, height, **options), height, **options),
            _dense(*sample_positions(x1, x2, width, **options), width, **options),
        )
        ctx.shape, ctx.counts = feature.shape, counts
        index, weight = outer_taps(
            bilinear_taps(y1, y2, height, **options), bilinear_taps(x1, x2, width, **options), width
        )
        for image, rows in enumerate(index.split([count * cells * cells for count in counts])):
            rows += image * height * width
        table = feature.permute(0, 2, 3, 1).reshape(-1, channels)
        crops = F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
        return crops.view(-1, cells, cells, channels).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]  # the decorator hides the arguments' names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        images, channels, height, width = ctx.shape
        by_cell = gradients[0].permute(0, 2, 3, 1)
        result = by_cell.new_zeros(images, height, width * channels)
        per_image = zip(*(whole.split(ctx.counts) for whole in (by_cell, *ctx.saved_tensors)), strict=True)
        chunk = BOX_CHUNK if by_cell.device.type == "cpu" else max(by_cell.shape[0], 1)
        with torch.autocast(by_cell.device.type, enabled=False):  # as forward, for those who call backward inside
            for image, parts in zip(result, per_image, strict=True):
                for crops, rows, columns in zip(*(part.split(chunk) for part in parts), strict=True):
                    bands = torch.matmul(columns.transpose(1, 2)[:, None], crops)  # (boxes, cells, width, channels)
                    image.addmm_(rows.reshape(-1, height).t(), bands.reshape(-1, width * channels))
        return result.view(images, height, width, channels).permute(0, 3, 1, 2), None, None, None, None


def _dense(position: Tensor, inside: Tensor, size: int, *, cells: int, ratio: int) -> Tensor:
    """Return the weight of each of `size` cells of the map in each cell of the crop, (K, cells, size), on one side."""
    distance = (position[:, :, None] - torch.arange(size, device=position.device)).abs()
    weights = (1 - distance).clamp(min=0) * inside[:, :, None]
    return weights.view(len(position), cells, ratio, size).mean(dim=2)
