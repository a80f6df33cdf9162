"""RoIAlign as matrix products: torchvision's values, faster on a CPU, and deterministic on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign


class SeparableRoIAlign(MultiScaleRoIAlign):
    """Gives the crops of torchvision's RoIAlign on one feature map, from two small matrix products per box.

    With a fixed number of samples per bin, a crop is `rows @ feature @ columns.T` in each channel: bilinear
    weights and the mean over a bin's samples both factor into a vertical and a horizontal part. torchvision's
    kernel walks over the samples in the backward pass, serially on a CPU, with atomic additions on a GPU.

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
        """Return the crops (sum of boxes, channels, cells, cells) in float32.

        Args:
            x: one feature map (images, channels, height, width) under the name "0".
            boxes: xyxy boxes (N, 4) of each image, in pixels of the resized image.
            image_shapes: not used; torchvision passes it.
        """
        feature = x["0"]
        # A bf16 product would round the bilinear weights to three digits, so autocast stays out.
        with torch.autocast(feature.device.type, enabled=False):
            crops = [self._crop(one.float(), own.float()) for one, own in zip(feature, boxes, strict=True)]
        return torch.cat(crops)

    def _crop(self, feature: Tensor, boxes: Tensor) -> Tensor:
        channels, height, width = feature.shape
        corners = boxes / self.stride
        rows = self._weights(corners[:, 1], corners[:, 3], height)
        columns = self._weights(corners[:, 0], corners[:, 2], width)
        by_row = feature.permute(1, 2, 0).reshape(height, width * channels)
        bands = (rows.reshape(-1, height) @ by_row).view(len(boxes), self.cells, width, channels)
        return torch.matmul(columns[:, None], bands).permute(0, 3, 1, 2)

    def _weights(self, low: Tensor, high: Tensor, size: int) -> Tensor:
        """Return how much each of `size` feature cells gives to each cell of the crop, along one side."""
        samples = self.cells * self.sampling_ratio
        step = (high - low).clamp(min=1.0) / samples
        position = low[:, None] + (torch.arange(samples, device=low.device) + 0.5) * step[:, None]
        # torchvision: nothing from more than one cell outside the map, the border's value from nearer by.
        inside = (position >= -1.0) & (position <= size)
        position = position.clamp(0, size - 1)
        distance = (position[:, :, None] - torch.arange(size, device=low.device)).abs()
        weights = (1 - distance).clamp(min=0) * inside[:, :, None]
        return weights.view(len(low), self.cells, self.sampling_ratio, size).mean(dim=2)
