"""torchvision's resizing with the same sizes in TorchScript and ONNX as in Python."""

# No `from __future__ import annotations`: TorchScript reads the types of a function that it does not compile.

from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform


class ExactResize(GeneralizedRCNNTransform):
    """torchvision's resizing with its own sizes in TorchScript and ONNX, too.

    There torchvision computes the scale in float32, and images of some sizes come out a pixel smaller.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return an image (3, H, W) as the detector sees it."""
        if torchvision._is_tracing():
            return _traced_resize(image, float(self.min_size[-1]), float(self.max_size)), target  # type: ignore[index]
        height, width = image.shape[-2:]
        scale = min(self.min_size[-1] / min(height, width), self.max_size / max(height, width))  # type: ignore[index]
        size = [int(height * scale), int(width * scale)]
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0], target


@torch.jit.unused
def _traced_resize(image: Tensor, min_size: float, max_size: float) -> Tensor:
    """Do the same with a size that is part of the graph."""
    from torch.onnx import operators

    shape = operators.shape_as_tensor(image)[-2:].to(torch.float64)
    # Vectors of one number: numbers, and tensors without a dimension, become float32 in ONNX.
    short, long = (torch.tensor([side], dtype=torch.float64) for side in (min_size, max_size))
    scale = torch.minimum(short / shape.min(), long / shape.max())
    size: Any = (shape * scale).floor().to(torch.int64)
    return F.interpolate(image[None], size=(size[0], size[1]), mode="bilinear", align_corners=False)[0]
