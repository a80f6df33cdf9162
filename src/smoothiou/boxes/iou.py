"""IoU of aligned pairs: row k of one tensor with row k of another."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes.by_hand import on_boxes, on_deltas
from smoothiou.boxes.deltas import CODE_WEIGHTS, Weights
from smoothiou.boxes.pairs import Pairs


def aligned_iou(a: Tensor, b: Tensor, *, gradient_dtype: torch.dtype | None = None) -> Tensor:
    """Return the overlap of row k of `a` with row k of `b` as a share of their union (Eq. 4, 5).

        IoU = intersection / (area_a + area_b - intersection)

    Value and gradient are finite for every pair whose corners are. Equal boxes have IoU 1 and gradient 0,
    also when they have no area; an inverted box, or one without area, overlaps nothing else.

    Args:
        a: (K, 4) boxes.
        b: (K, 4) boxes.
        gradient_dtype: the type that gradients end in, where the boxes were cast before.

    Returns:
        (K,) in [0, 1].
    """
    return on_boxes(Pairs.iou, a, b, gradient_dtype=gradient_dtype)


def deltas_iou(
    a: Tensor, b: Tensor, *, weights: Weights = CODE_WEIGHTS, gradient_dtype: torch.dtype | None = None
) -> Tensor:
    """Return the IoU of the boxes that pairs of deltas stand for, whatever their common anchor is.

    A box relative to its anchor is the box in pixels, shifted and scaled along each axis, and IoU does not
    change under that. So no anchor is needed. Finite as `aligned_iou` is; equal deltas have IoU 1 and
    gradient 0.

    Args:
        a: (K, 4) deltas.
        b: (K, 4) deltas relative to the same anchors.
        weights: factors that the deltas were multiplied by.
        gradient_dtype: as in `aligned_iou`.

    Returns:
        (K,) in [0, 1].
    """
    return on_deltas(Pairs.iou, a, b, weights=weights, gradient_dtype=gradient_dtype)
