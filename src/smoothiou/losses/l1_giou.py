"""L1 and GIoU with fixed weights: the box loss of DETR."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.losses._base import float_pair, reduced, require_positive, sum_over_codes
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.giou import one_minus_giou
from smoothiou.losses.l1 import l1


def l1_giou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, l1_weight: float = 5.0, giou_weight: float = 2.0
) -> Tensor:
    """Return `L1GIoU` of boxes (K, 4) xyxy; L1 is that of the corners, in the boxes' own unit."""
    l1_weight, giou_weight = require_positive("l1_weight", l1_weight), require_positive("giou_weight", giou_weight)
    pred, target = float_pair(boxes1, boxes2)
    giou = boxes.on_boxes(one_minus_giou, pred, target, gradient_dtype=boxes1.dtype)
    return reduced(l1_weight * l1(pred, target) + giou_weight * giou, reduction)


class L1GIoU(nn.Module):
    """Mix a loss of codes with one of overlap by fixed weights, as nearly every DETR does.

        L = l1_weight * sum of |z| + giou_weight * (1 - GIoU)

    DETR measures L1 in sides of the image. Deltas know no image; our reading is sides of the anchor, so z is
    the difference of deltas before their multiplication by `weights` (of sizes, the logarithm).

    Args:
        l1_weight: 5 in DETR, above 0.
        giou_weight: 2 in DETR, above 0.

    Reference:
        N. Carion et al.: End-to-End Object Detection with Transformers, https://arxiv.org/abs/2005.12872, Eq. 9.
    """

    card = CATALOGUE["l1-giou"]

    def __init__(self, l1_weight: float = 5.0, giou_weight: float = 2.0) -> None:
        super().__init__()
        self.l1_weight = require_positive("l1_weight", l1_weight)
        self.giou_weight = require_positive("giou_weight", giou_weight)

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss (K,) of deltas (K, 4) that were multiplied by `weights`; anchors are not used."""
        pred, target = float_pair(pred_deltas, target_deltas)
        x, y, width, height = (pred - target).abs().unbind(-1)
        weight_x, weight_y, weight_w, weight_h = weights
        z = torch.stack((x / weight_x, y / weight_y, width / weight_w, height / weight_h), -1)
        giou = boxes.on_deltas(one_minus_giou, pred, target, weights=weights, gradient_dtype=pred_deltas.dtype)
        return self.l1_weight * sum_over_codes(z, pred) + self.giou_weight * giou

    def on_boxes(self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy") -> Tensor:
        """Return the loss (K,) of boxes (K, 4): L1 of their four numbers as they are, GIoU of the boxes."""
        given = pred
        pred, target = float_pair(pred, target)
        corners = (boxes.to_xyxy(rows, box_format=box_format) for rows in (pred, target))
        giou = boxes.on_boxes(one_minus_giou, *corners, gradient_dtype=given.dtype)
        return self.l1_weight * l1(pred, target) + self.giou_weight * giou

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"l1_weight={self.l1_weight:g}, giou_weight={self.giou_weight:g}"
