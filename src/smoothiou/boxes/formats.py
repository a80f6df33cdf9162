"""How four numbers make a box, and in which precision it is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.errors import ConfigError, did_you_mean

BOX_FORMATS = ("xyxy", "yxhw", "cxcywh", "xywh")


def to_xyxy(boxes: Tensor, *, box_format: str) -> Tensor:
    """Return corners (x1, y1, x2, y2) of boxes in another format.

    Args:
        boxes: (K, 4).
        box_format: `xyxy`; `yxhw` = (y1, x1, height, width), the rows of the paper's Algorithm 1;
            `cxcywh` = centre and size; `xywh` = first corner and size, as COCO files have it.

    Raises:
        ConfigError: no such format.
    """
    if box_format == "xyxy":
        return boxes
    a, b, c, d = boxes.unbind(-1)
    if box_format == "yxhw":
        return torch.stack((b, a, b + d, a + c), -1)
    if box_format == "xywh":
        return torch.stack((a, b, a + c, b + d), -1)
    if box_format == "cxcywh":
        return torch.stack((a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d), -1)
    hint = did_you_mean(box_format, BOX_FORMATS)
    raise ConfigError(f"box_format: no format is called {box_format!r}.", hint=hint)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (K,) of boxes (K, 4); a box with x2 < x1 or y2 < y1 has none."""
    x1, y1, x2, y2 = in_float(boxes).unbind(-1)
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def in_float(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32, because areas of half precision boxes overflow at 256 pixels."""
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_one_type(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tensors in the wider one of their types, which is at least float32."""
    a, b = in_float(a), in_float(b)
    if a.dtype == b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)
