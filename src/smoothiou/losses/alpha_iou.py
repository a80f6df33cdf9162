"""The power of an IoU."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes, require_positive

# IoU 0 counts as this: the second derivative alpha (alpha - 1) IoU^(alpha - 2) is infinite at 0 for alpha below 2.
SMALLEST_IOU = 1e-30


def one_minus_power(pred: Box, target: Box, *, alpha: float) -> Tensor:
    """1 - IoU^alpha (K,) of boxes in one frame."""
    return 1 - iou_of(pred, target).clamp(min=SMALLEST_IOU) ** alpha  # Eq. 2


def alpha_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: float = 3.0) -> Tensor:
    """1 - IoU^alpha of boxes (K, 4) xyxy; see `AlphaIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        alpha: at least 1. (Below 1 the gradient is infinite at IoU 0.) The authors use 3.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        J. He et al., Alpha-IoU, NeurIPS 2021, https://arxiv.org/abs/2110.13675.
    """
    return of_boxes(partial(one_minus_power, alpha=_require_alpha(alpha)), boxes1, boxes2, reduction)


class AlphaIoU(OverlapLoss):
    """Spend the gradient on boxes that are nearly right: 1 - IoU^alpha.

    The gradient is alpha IoU^(alpha - 1) times that of 1 - IoU: with alpha = 3 three times as strong at IoU 1, and
    weaker below .58. The paper also takes powers of GIoU, DIoU and CIoU; this is the plain one.

    Args:
        alpha: at least 1. (Below 1 the gradient is infinite at IoU 0.) The authors use 3.

    Reference:
        J. He et al.: Alpha-IoU, NeurIPS 2021, https://arxiv.org/abs/2110.13675, Eq. 2.
    """

    info = LossInfo(
        name="alpha-iou",
        summary="A power of the overlap, which spends the gradient on boxes that are nearly right.",
        formula="1 - IoU^alpha; alpha = 3",
        range="[0, 1]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=1.0,
        weight_source="its authors' Faster R-CNN, which users could not reproduce",
        reference="J. He et al., Alpha-IoU, NeurIPS 2021, https://arxiv.org/abs/2110.13675",
    )

    def __init__(self, alpha: float = 3.0) -> None:
        super().__init__()
        self.alpha = _require_alpha(alpha)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return one_minus_power(pred, target, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"alpha={self.alpha:g}"


def _require_alpha(alpha: float) -> float:
    if require_positive("alpha", alpha) < 1:
        raise ConfigError(f"alpha: expected a number of at least 1, got {alpha!r}.")
    return float(alpha)
