"""The power of an IoU."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, at_least
from smoothiou.errors import ConfigError
from smoothiou.losses._base import PairLoss, of_boxes, require_positive
from smoothiou.losses.catalogue import CATALOGUE

SMALLEST_IOU = 1e-30


@formula()
def one_minus_power(pairs: Pairs, *, alpha: float) -> tuple[Array, Slopes]:
    """Return 1 - IoU^alpha and its slopes."""
    iou, slopes = pairs.iou()
    # IoU 0 counts as the smallest number: (alpha - 1) IoU^(alpha - 2), by which the slope itself grows, would be
    # infinite there where alpha is below 2.
    power = at_least(iou, SMALLEST_IOU) ** (alpha - 1)
    return 1 - iou * power, slopes.scaled(power * -alpha)


def alpha_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: float = 3.0) -> Tensor:
    """Return 1 - IoU^alpha of boxes (K, 4) xyxy; see `AlphaIoU`."""
    measure = partial(one_minus_power, alpha=_require_alpha(alpha))
    return of_boxes(measure, boxes1, boxes2, reduction, symmetric=True)


class AlphaIoU(PairLoss):
    """Spend the gradient on boxes that are nearly right: 1 - IoU^alpha.

    The pull is alpha IoU^(alpha - 1) times that of 1 - IoU: with alpha = 3 three times as strong at IoU 1, and
    weaker below .58. The paper also takes powers of GIoU, DIoU and CIoU; this is the plain one.

    Args:
        alpha: at least 1. (Below 1 the gradient is infinite at IoU 0.) The authors use 3.

    Reference:
        J. He et al.: Alpha-IoU, NeurIPS 2021, https://arxiv.org/abs/2110.13675, Eq. 2.
    """

    card = CATALOGUE["alpha-iou"]

    def __init__(self, alpha: float = 3.0) -> None:
        super().__init__()
        self.alpha = _require_alpha(alpha)
        self.measure = partial(one_minus_power, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"alpha={self.alpha:g}"


def _require_alpha(alpha: float) -> float:
    if require_positive("alpha", alpha) < 1:
        raise ConfigError(f"alpha: expected a number of at least 1, got {alpha!r}.")
    return float(alpha)
