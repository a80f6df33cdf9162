"""RoIAlign as a sparse product: torchvision's values, faster on a CPU, and deterministic on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from smoothiou.boxes import in_float
from smoothiou.detectors.weighted_rows import weighted_rows


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
    return torch.stack((first, second), -1).to(torch.int32).view(shape), weights.view(shape)


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


class SparseRoIAlign(MultiScaleRoIAlign):
    """RoIAlign on one feature map as one product with a sparse matrix, of 16 cells of the map for one of the crop.

    torchvision's backward kernel loops over the samples, serially on a CPU, with atomic additions on a GPU; here each
    cell of the map sums its own part in a fixed order.

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
        _, channels, height, width = feature.shape
        x1, y1, x2, y2 = (torch.cat(boxes).to(feature.dtype) / self.stride).unbind(1)
        options = {"cells": self.cells, "ratio": self.sampling_ratio}
        index, weight = outer_taps(
            bilinear_taps(y1, y2, height, **options), bilinear_taps(x1, x2, width, **options), width
        )
        for image, rows in enumerate(index.split([len(each) * self.cells**2 for each in boxes])):
            rows += image * height * width
        crops = weighted_rows(feature.permute(0, 2, 3, 1).reshape(-1, channels), index, weight)
        return crops.view(-1, self.cells, self.cells, channels).permute(0, 3, 1, 2)
