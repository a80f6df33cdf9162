"""The Smooth IoU loss on boxes: the paper's Algorithm 1, line by line."""

from __future__ import annotations

from torch import Tensor

from smoothiou import boxes
from smoothiou.losses._base import check_pair, float_pair, reduced, require_positive
from smoothiou.losses._lambda import Lambda, lambda_of, require_lambda
from smoothiou.losses.huber import huber
from smoothiou.losses.mixture import Mixing, can_mix, mixture


def smooth_iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    delta: float = 1.0,
    lam: Lambda = "batch",
    detach: bool = True,
    box_format: str = "xyxy",
    reduction: str = "none",
) -> Tensor:
    """Train boxes by distance while they are far off and by overlap as they get better: Algorithm 1.

        L_k = lambda * (1 - IoU_k) + (1 - lambda) * Huber_k,    lambda = mean of IoU_1 ... IoU_K      (Eq. 7)

    Huber is taken on the corners and summed over the four of them, in the units of the boxes: with boxes in
    pixels it is hundreds of times larger than the IoU term. Inside a detector use `SmoothIoU`, which takes
    deltas. Value and gradient are finite for all finite boxes and 0 for equal ones.

    Args:
        pred: predicted boxes (K, 4).
        target: target boxes (K, 4), row by row.
        delta: threshold of Huber (Eq. 2), above 0, in the units of the boxes.
        lam: lambda: `batch` for the mean IoU of the K boxes (the paper), `box` for the IoU of each box, or a
            number in [0, 1]; 0 is Huber (Eq. 8), 1 is 1 - IoU (Eq. 9).
        detach: whether lambda is a constant to autograd (our reading; the paper does not say). If not, each
            IoU also acts through lambda, with -dL/dIoU = 2 lambda - 1 + mean Huber in place of lambda. Where
            boxes are poor and Huber is small that is negative, and training pushes boxes apart.
        box_format: `xyxy`, `yxhw` (Algorithm 1's {y1, x1, h, w}), `cxcywh` or `xywh`, of both inputs.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar. In float32 (float64 for float64 boxes).

    Raises:
        ConfigError: a shape or an option is wrong.

    Reference:
        M. Arif, M. Jameel, L. Schmidt-Thieme: Directly Optimizing IoU for Bounding Box Localization.
    """
    delta, lam = require_positive("delta", delta), require_lambda(lam, words=("batch", "box"))
    gradient_dtype = pred.dtype
    if box_format == "xyxy" and (detach or not isinstance(lam, str)) and can_mix(pred):
        check_pair(pred, target)
        overlap = boxes.OfBoxes(boxes.Pairs.iou, boxes.steepest(gradient_dtype))
        mix = Mixing(overlap, delta, 1.0, rule=lambda iou: lambda_of(iou, lam, sync=False), plain_mean=lam == "batch")
        return reduced(mixture(pred, target, mix)[0], reduction)
    pred, target = float_pair(pred, target)
    pred = boxes.to_xyxy(pred, box_format=box_format)  # line 2
    target = boxes.to_xyxy(target, box_format=box_format)  # line 3
    huber_loss = huber(pred, target, delta=delta)  # line 4: Eq. 2; that the corners are summed is our reading
    iou = boxes.aligned_iou(pred, target, gradient_dtype=gradient_dtype)  # line 5: Eq. 4, 5
    iou_loss = 1 - iou  # line 6
    weight = lambda_of(iou.detach() if detach else iou, lam, sync=False)  # line 8
    return reduced(weight * iou_loss + (1 - weight) * huber_loss, reduction)  # line 10: Eq. 7
