"""Huber and IoU with a fixed lambda: the control for the paper's only new idea, a lambda that moves."""

from __future__ import annotations

from torch import Tensor

from smoothiou.losses.base import LossInfo, reduce
from smoothiou.losses.lam import require_lambda
from smoothiou.losses.smooth_iou import SmoothIoU, smooth_iou_loss


def mix_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, lam: float = 0.5, delta: float = 1.0
) -> Tensor:
    """`Mix` of boxes (K, 4) xyxy; Huber is that of the corners, in the boxes' own unit.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        lam: the weight of IoU, in [0, 1].
        delta: threshold of Huber (Eq. 2), above 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, inf).

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, section 3.1.
    """
    return reduce(smooth_iou_loss(boxes1, boxes2, lam=_require_number(lam), delta=delta), reduction)


class Mix(SmoothIoU):
    """Show what a fixed lambda does, so that one can tell whether a moving one does more.

        L_k = lam * iou_weight * (1 - IoU_k) + (1 - lam) * Huber_k

    The same as `smooth-iou[lam=NUMBER]`, under a name of its own. The paper says that a fixed lambda is
    "detrimental to the overall performance" and shows no numbers; .25, .5 and .75 are the obvious ones to try.

    Args:
        lam: the weight of IoU, in [0, 1].
        delta: threshold of Huber (Eq. 2), above 0.
        iou_weight: factor on the IoU term, above 0.
    """

    info = LossInfo(
        name="mix",
        summary="Huber and 1 - IoU with a fixed lambda: the control for a lambda that moves.",
        formula="lam (1 - IoU) + (1 - lam) huber; lam = .5",
        range="[0, inf)",
        space="both",
        vanishes_when_disjoint=False,
        weight_source="the paper, which reports that a fixed lambda is worse",
        reference="M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, section 3.1",
    )

    def __init__(self, lam: float = 0.5, delta: float = 1.0, iou_weight: float = 1.0) -> None:
        super().__init__(delta=delta, lam=_require_number(lam), iou_weight=iou_weight)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"lam={self.lam!r}, delta={self.delta:g}, iou_weight={self.iou_weight:g}"


def _require_number(lam: float) -> float:
    return float(require_lambda(lam, names=()))
