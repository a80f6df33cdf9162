"""How four numbers make a box, and in which precision it is computed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smoothiou.errors import ConfigError, did_you_mean

BOX_FORMATS = ("xyxy", "yxhw", "cxcywh", "xywh")


class Box(NamedTuple):
    """K boxes, column by column, each (K,). Compiled code is ten times faster on columns than on stacked corners."""

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor

    @property
    def width(self) -> Tensor:
        """x2 - x1."""
        return self.x2 - self.x1

    @property
    def height(self) -> Tensor:
        """y2 - y1."""
        return self.y2 - self.y1

    @property
    def area(self) -> Tensor:
        """Width times height."""
        return self.width * self.height

    @property
    def x(self) -> Tensor:
        """Centre, horizontally."""
        return 0.5 * (self.x1 + self.x2)

    @property
    def y(self) -> Tensor:
        """Centre, vertically."""
        return 0.5 * (self.y1 + self.y2)


def to_xyxy(boxes: Tensor, *, box_format: str) -> Tensor:
    """Convert boxes of another format to corners (x1, y1, x2, y2).

    Args:
        boxes: (K, 4).
        box_format: `xyxy`; `yxhw` = (y1, x1, height, width), the rows of the paper's Algorithm 1;
            `cxcywh` = centre and size; `xywh` = first corner and size, as in COCO files.

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


def in_float(tensor: Tensor) -> Tensor:
    """Cast to at least float32: in half precision, areas overflow at 256 pixels."""
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_one_type(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Cast both tensors to the wider of their types, which is at least float32."""
    a, b = in_float(a), in_float(b)
    if a.dtype == b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)
