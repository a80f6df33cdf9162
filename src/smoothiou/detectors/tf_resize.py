"""Images resized as TensorFlow 1 does: bilinear from corner to corner, without half-pixel centres."""

# No `from __future__ import annotations`: TorchScript reads the types of a function that it does not compile.

from typing import Any

import torch
import torchvision
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
    # TorchScript's `round` gives a float.
    return max(1, int(round(height * scale))), max(1, int(round(width * scale)))  # noqa: RUF046


@torch.jit.unused
def _traced_sides(image: Tensor, shortest: int, longest: int) -> tuple[int, int]:
    """Return the same sides as part of ONNX's graph."""
    from torch.onnx import operators

    sides = operators.shape_as_tensor(image)[-2:].to(torch.float64)
    # Vectors of one number: numbers, and tensors without a dimension, become float32 in ONNX.
    short, long = (torch.tensor([side], dtype=torch.float64) for side in (shortest, longest))
    scale = short / sides.min()
    scale = torch.where((sides.max() * scale).round() > long, long / sides.max(), scale)
    new: Any = (sides * scale).round().to(torch.int64).clamp(min=1)
    return new[0], new[1]


class TensorFlowTransform(GeneralizedRCNNTransform):
    """torchvision's normalising, batching and scaling of boxes, with TensorFlow's sizes and filter.

    Reference:
        TensorFlow Object Detection API, `core/preprocessor.resize_to_range`.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return the image (C, H, W) in its new size, and a target whose "boxes" follow it."""
        shortest = self.torch_choice(self.min_size) if self.training else self.min_size[-1]  # pyright: ignore[reportArgumentType, reportIndexIssue]
        if torchvision._is_tracing():
            height, width = _traced_sides(image, shortest, self.max_size)
            return resize_bilinear(image, height=height, width=width), target
        old = [image.shape[-2], image.shape[-1]]
        height, width = resized_sides(old[0], old[1], shortest=shortest, longest=self.max_size)
        if [height, width] != old:
            image = resize_bilinear(image, height=height, width=width)
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], old, [height, width])
        return image, target
