"""NWD: the distance of two boxes as normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Box
from smoothiou.losses.base import LossInfo, PixelLoss, reduce, require_positive


def wasserstein(pred: Box, target: Box) -> Tensor:
    """Distance (K,) of the boxes' normal distributions (Eq. 6), in the boxes' unit; 0 with gradient 0 at equality."""
    squares = (
        (pred.x - target.x) ** 2
        + (pred.y - target.y) ** 2
        + (pred.width - target.width) ** 2 / 4
        + (pred.height - target.height) ** 2 / 4
    )
    # The slope of a root at 0 is infinite, and 0 times infinity is NaN: so no root is taken there.
    equal = squares == 0
    return torch.sqrt(torch.where(equal, 1.0, squares)) * torch.where(equal, 0.0, 1.0)


def nwd_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, constant: float = 12.8) -> Tensor:
    """NWD loss of boxes (K, 4) xyxy in pixels; see `NWD`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        constant: in pixels, above 0. The authors take the mean size of the data set's objects (12.8 in AI-TOD);
            `smoothiou doctor DATA` gives that of yours.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        J. Wang et al., Normalized Gaussian Wasserstein Distance, 2021, https://arxiv.org/abs/2110.13389.
    """
    return reduce(NWD(constant=constant).on_boxes(boxes1, boxes2), reduction)


class NWD(PixelLoss):
    """Compare boxes in pixels, not in shares of their area, so that a pixel off costs a small object no more.

        L = 1 - exp(-W / constant),    W^2 = dx^2 + dy^2 + (dw^2 + dh^2) / 4

    W is the distance of two normal distributions with the boxes' centres and half sides, in pixels of the resized
    image. Made for tiny objects: at a constant of 12.8 a box that is 60 pixels off has a loss of .99 and hardly a
    pull, however large it is.

    Args:
        constant: in pixels, above 0. The authors take the mean size of the data set's objects (12.8 in AI-TOD);
            `smoothiou doctor DATA` gives that of yours.

    Reference:
        J. Wang et al.: A Normalized Gaussian Wasserstein Distance for Tiny Object Detection,
        https://arxiv.org/abs/2110.13389, Eq. 6 to 8.
    """

    info = LossInfo(
        name="nwd",
        summary="Distance of the boxes in pixels, as normal distributions: for tiny objects.",
        formula="1 - exp(-sqrt(dx^2 + dy^2 + (dw^2 + dh^2) / 4) / constant), in pixels; constant = 12.8",
        range="[0, 1]",
        space="boxes",
        frame="size",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as iou; none is published for two-stage detectors",
        also_called="Wasserstein loss; NWD mixed half and half with CIoU in YOLO forks",
        reference="J. Wang et al., Normalized Gaussian Wasserstein Distance, 2021, https://arxiv.org/abs/2110.13389",
    )

    def __init__(self, constant: float = 12.8) -> None:
        super().__init__()
        self.constant = require_positive("constant", constant)

    def formula(self, pred: Box, target: Box, unit: Tensor, image_sizes: Tensor | None = None) -> Tensor:
        """Loss (K,) of boxes in a frame in which a length of 1 is `unit` pixels."""
        return 1 - torch.exp(-(wasserstein(pred, target) * (unit / self.constant)))

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"constant={self.constant:g}"
