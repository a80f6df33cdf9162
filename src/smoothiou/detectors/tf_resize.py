"""Images resized as TensorFlow 1 does: bilinear from corner to corner, without half-pixel centres."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes


def resize_bilinear(image: Tensor, *, height: int, width: int) -> Tensor:
    """Return an image (C, height, width) as TensorFlow 1's `resize_images` gives it.

        row i is sampled at  i * old height / height,  linearly between two rows, at most the last

    torch and torchvision sample at (i + 0.5) * old / new - 0.5; neither blurs before shrinking.

    Args:
        image: (C, H, W), of a floating type.
        height, width: of the result.
    """
    return _resize_axis(_resize_axis(image, height, dim=-2), width, dim=-1)


def _resize_axis(image: Tensor, size: int, *, dim: int) -> Tensor:
    old = image.shape[dim]
    position = torch.arange(size, device=image.device, dtype=torch.float32) * (old / size)
    first = position.floor().clamp(max=old - 1)
    fraction = (position - first).to(image.dtype)
    low = image.index_select(dim, first.long())
    high = image.index_select(dim, (first.long() + 1).clamp(max=old - 1))
    return torch.lerp(low, high, fraction if dim == -1 else fraction[:, None])


def resized_sides(height: int, width: int, *, shortest: int, longest: int) -> tuple[int, int]:
    """Return both sides after the short one becomes `shortest`, or the long one `longest` if it would exceed that.

    Sides are rounded to the nearest number of pixels; torchvision cuts the fraction off.
    """
    scale = shortest / min(height, width)
    if round(max(height, width) * scale) > longest:
        scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


class TensorFlowTransform(GeneralizedRCNNTransform):
    """torchvision's normalising, batching and scaling of boxes, with TensorFlow's sizes and filter.

    Reference:
        TensorFlow Object Detection API, `core/preprocessor.resize_to_range`.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return the image (C, H, W) in its new size, and a target whose "boxes" follow it."""
        sizes: Any = self.min_size  # a tuple, whatever was given
        shortest = self.torch_choice(sizes) if self.training else sizes[-1]
        old = (image.shape[-2], image.shape[-1])
        new = resized_sides(*old, shortest=shortest, longest=self.max_size)
        if new != old:
            image = resize_bilinear(image, height=new[0], width=new[1])
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], list(old), list(new))
        return image, target
