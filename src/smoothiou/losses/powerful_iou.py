"""Powerful IoU, one of the two losses called PIoU."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes, require_positive


def powerful_iou(pred: Box, target: Box, *, version: int = 1, hyper: float = 1.3) -> Tensor:
    """Powerful-IoU loss (K,) of boxes in one frame."""
    width_term = ((pred.x1 - target.x1).abs() + (pred.x2 - target.x2).abs()) / target.width
    height_term = ((pred.y1 - target.y1).abs() + (pred.y2 - target.y2).abs()) / target.height
    p = (width_term + height_term) / 4
    loss = 1 - iou_of(pred, target) + 1 - torch.exp(-(p**2))
    if version == 1:
        return loss
    attention = hyper * torch.exp(-p)
    return 3 * attention * torch.exp(-(attention**2)) * loss


def powerful_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, version: int = 1, hyper: float = 1.3
) -> Tensor:
    """Powerful-IoU loss of boxes (K, 4) xyxy; see `PowerfulIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        version: 1 or 2.
        hyper: of version 2, above 0; the authors take 1.3.

    Returns:
        (K,) for `none`, else a scalar; with the defaults the loss of a box lies in [0, 2].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        C. Liu et al., Powerful-IoU, Neural Networks 170, 2024, https://doi.org/10.1016/j.neunet.2023.11.041.
    """
    options = {"version": _require_version(version), "hyper": require_positive("hyper", hyper)}
    return of_boxes(partial(powerful_iou, **options), boxes1, boxes2, reduction)


class PowerfulIoU(OverlapLoss):
    """Measure each edge's distance in sides of the target, which no prediction can make larger.

        L = 1 - IoU + 1 - exp(-P^2),    P = mean of |edge - target edge| / target side, over the four edges

    GIoU to Efficient-IoU divide by the size of the box around both, which a larger prediction makes larger.
    P divides by the target's, so it does not fall when a disjoint box grows about its centre. Its pull is
    strongest at P = .7 and fades for boxes that are far off. Two losses are called PIoU: this one (its first
    version) and Pixels-IoU, for rotated boxes.

    Version 2 is 3 x exp(-x^2) times version 1, x = hyper exp(-P). The factor is not a constant to autograd, as in the
    copies that we have read: where P is above .9 or so it falls faster than version 1 grows, and boxes that far off are
    pushed away.

    Args:
        version: 1 or 2.
        hyper: of version 2, above 0; the authors take 1.3.

    Reference:
        C. Liu et al.: Powerful-IoU, Neural Networks 170, 2024, https://doi.org/10.1016/j.neunet.2023.11.041.
    """

    info = LossInfo(
        name="powerful-iou",
        summary="Overlap and the distances of the edges, in sides of the target and not of the enclosing box.",
        formula="1 - IoU + 1 - exp(-P^2); P = mean of |edge - target edge| / target side",
        range="[0, 2]",
        space="boxes",
        vanishes_when_disjoint=False,
        symmetric=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        also_called="PIoU, a name that Pixels-IoU for rotated boxes has too",
        reference="C. Liu et al., Powerful-IoU, Neural Networks 170, 2024,"
        " https://doi.org/10.1016/j.neunet.2023.11.041",
    )

    def __init__(self, version: int = 1, hyper: float = 1.3) -> None:
        super().__init__()
        self.version, self.hyper = _require_version(version), require_positive("hyper", hyper)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return powerful_iou(pred, target, version=self.version, hyper=self.hyper)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"version={self.version}" + (f", hyper={self.hyper:g}" if self.version == 2 else "")


def _require_version(version: int) -> int:
    if version not in (1, 2) or isinstance(version, bool):
        raise ConfigError(f"version: expected 1 or 2, got {version!r}.")
    return version
