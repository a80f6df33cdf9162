"""L1 and GIoU with fixed weights: the box loss of DETR."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS, Weights, box_pair, delta_pair, to_xyxy
from smoothiou.losses.base import LossInfo, RegisteredLoss, float_pair, reduce, require_positive, sum_of_deltas
from smoothiou.losses.giou import one_minus_giou
from smoothiou.losses.l1 import l1


def l1_giou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, l1_weight: float = 5.0, giou_weight: float = 2.0
) -> Tensor:
    """`L1GIoU` of boxes (K, 4) xyxy; L1 is that of the corners, in the boxes' own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        l1_weight: 5 in DETR, above 0.
        giou_weight: 2 in DETR, above 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        N. Carion et al., DETR, ECCV 2020, https://arxiv.org/abs/2005.12872.
    """
    l1_weight, giou_weight = require_positive("l1_weight", l1_weight), require_positive("giou_weight", giou_weight)
    pred, target = float_pair(boxes1, boxes2)
    return reduce(l1_weight * l1(pred, target) + giou_weight * one_minus_giou(*box_pair(pred, target)), reduction)


class L1GIoU(RegisteredLoss):
    """Add a loss of deltas and one of overlap with fixed weights, as nearly every DETR does.

        L = l1_weight * sum of |z| + giou_weight * (1 - GIoU)

    DETR measures L1 in sides of the image. Deltas know no image; our reading is sides of the anchor, so z is
    the difference of deltas before their multiplication by `weights` (of sizes, the logarithm).

    Args:
        l1_weight: 5 in DETR, above 0.
        giou_weight: 2 in DETR, above 0.

    Reference:
        N. Carion et al.: End-to-End Object Detection with Transformers, https://arxiv.org/abs/2005.12872, Eq. 9.
    """

    info = LossInfo(
        name="l1-giou",
        summary="L1 of the deltas and GIoU of the boxes with fixed weights, as in DETR.",
        formula="5 sum of |z| / delta weight + 2 (1 - GIoU)",
        range="[0, inf)",
        space="both",
        vanishes_when_disjoint=False,
        weight_source="DETR, whose two weights are inside",
        also_called="the box loss of DETR, which measures L1 in sides of the image",
        reference="N. Carion et al., DETR, ECCV 2020, https://arxiv.org/abs/2005.12872",
    )

    def __init__(self, l1_weight: float = 5.0, giou_weight: float = 2.0) -> None:
        super().__init__()
        self.l1_weight = require_positive("l1_weight", l1_weight)
        self.giou_weight = require_positive("giou_weight", giou_weight)

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Loss (K,) of deltas (K, 4) that were multiplied by `weights`; anchors are not used."""
        pred, target = float_pair(pred_deltas, target_deltas)
        columns = (pred - target).abs().unbind(-1)
        z = torch.stack([column / weight for column, weight in zip(columns, weights, strict=True)], -1)
        giou_loss = one_minus_giou(*delta_pair(pred, target, weights=weights))
        return self.l1_weight * sum_of_deltas(z, pred) + self.giou_weight * giou_loss

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Loss (K,) of boxes (K, 4): L1 of their four numbers as they are, GIoU of the boxes."""
        pred, target = float_pair(pred, target)
        corners = (to_xyxy(rows, box_format=box_format) for rows in (pred, target))
        return self.l1_weight * l1(pred, target) + self.giou_weight * one_minus_giou(*box_pair(*corners))

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"l1_weight={self.l1_weight:g}, giou_weight={self.giou_weight:g}"
