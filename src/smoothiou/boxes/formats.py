"""How four numbers make a box."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.errors import ConfigError, did_you_mean

BOX_FORMATS = ("xyxy", "yxhw", "cxcywh", "xywh")


def require_box_format(box_format: str) -> None:
    """Check the name of a format.

    Args:
        box_format: one of `BOX_FORMATS`.

    Raises:
        ConfigError: no such format.
    """
    if box_format not in BOX_FORMATS:
        hint = did_you_mean(box_format, BOX_FORMATS)
        raise ConfigError(f"box_format: no format is called {box_format!r}.", hint=hint)


def to_xyxy(boxes: Tensor, *, box_format: str) -> Tensor:
    """Convert boxes of another format to corners (x1, y1, x2, y2).

    Args:
        boxes: (K, 4).
        box_format: `xyxy`; `yxhw` = (y1, x1, height, width), the rows of the paper's Algorithm 1;
            `cxcywh` = centre and size; `xywh` = first corner and size, as in COCO files.

    Raises:
        ConfigError: no such format.
    """
    require_box_format(box_format)
    if box_format == "xyxy":
        return boxes
    a, b, c, d = boxes.unbind(-1)
    if box_format == "yxhw":
        return torch.stack((b, a, b + d, a + c), -1)
    if box_format == "xywh":
        return torch.stack((a, b, a + c, b + d), -1)
    return torch.stack((a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d), -1)  # cxcywh
