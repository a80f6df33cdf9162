"""MPDIoU: overlap and the distances of two corners, in diagonals of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, PixelLoss, reduce, require_positive

SIDE = 640.0
"""Side in pixels of the image where nobody tells: what its authors train YOLO with."""
LARGEST = 1e15
"""Diagonals of the image between two corners, at most, so that the square stays finite."""


def corner_distances(pred: Box, target: Box, scale: Tensor) -> Tensor:
    """Sum (K,) of the squared distances of the first and of the last corners, times scale^2."""
    dx1, dy1, dx2, dy2 = (scale * (p - t) for p, t in zip(pred, target, strict=True))
    return dx1**2 + dy1**2 + dx2**2 + dy2**2


def mpdiou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, side: float | None = None) -> Tensor:
    """MPDIoU loss of boxes (K, 4) xyxy in pixels; see `MPDIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        side: W and H in pixels of a square image. None: as the detector tells, which all but RetinaNet and FCOS do;
            where there is no detector (functions of boxes, curves, simulations), 640.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        S. Ma, Y. Xu, MPDIoU, 2023, https://arxiv.org/abs/2307.07662.
    """
    return reduce(MPDIoU(side=side).on_boxes(boxes1, boxes2), reduction)


class MPDIoU(PixelLoss):
    """Pull the first and the last corner, each by its distance in diagonals of the image.

        L = 1 - IoU + (d1^2 + d2^2) / (W^2 + H^2),    d1, d2: distances of the upper left and lower right corners

    W and H are of the image as the detector sees it. Near the target the second term is small: a corner that is a
    pixel off, in an image of 640 x 640, costs 1 / 819,200.

    Args:
        side: W and H in pixels of a square image. None: as the detector tells, which all but RetinaNet and FCOS do;
            where there is no detector (functions of boxes, curves, simulations), 640.

    Reference:
        S. Ma, Y. Xu: MPDIoU, https://arxiv.org/abs/2307.07662.
    """

    info = LossInfo(
        name="mpdiou",
        summary="Overlap and the distances of two opposite corners, in diagonals of the image.",
        formula="1 - IoU + (d1^2 + d2^2) / (W^2 + H^2); d1, d2 = distances of two corners, W, H = sides of the image",
        range="[0, inf)",
        space="boxes",
        frame="size",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        reference="S. Ma, Y. Xu, MPDIoU, 2023, https://arxiv.org/abs/2307.07662",
    )

    def __init__(self, side: float | None = None) -> None:
        super().__init__()
        self.side = None if side is None else require_positive("side", side)
        self.needs_image_sizes = side is None

    def formula(self, pred: Box, target: Box, unit: Tensor, image_sizes: Tensor | None = None) -> Tensor:
        """Loss (K,) of boxes in a frame in which a length of 1 is `unit` pixels."""
        if image_sizes is not None and image_sizes.shape != (*unit.shape, 2):
            raise ConfigError(f"image_sizes: expected ({len(unit)}, 2), got {tuple(image_sizes.shape)}.")
        if self.side is None and image_sizes is not None:
            height, width = image_sizes.to(unit.dtype).unbind(1)
            diagonal = torch.sqrt(height**2 + width**2)
        else:
            diagonal = torch.full_like(unit, 2**0.5 * (SIDE if self.side is None else self.side))
        scale = (unit / diagonal).clamp(max=LARGEST)
        return 1 - iou_of(pred, target) + corner_distances(pred, target, scale)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"side={self.side}"
