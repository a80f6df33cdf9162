"""InterpIoU: the overlap of a box on the way to its target."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, OverlapLoss, of_boxes

DYNAMIC = "dynamic"


def interp_iou(pred: Box, target: Box, *, alpha: float | str) -> Tensor:
    """InterpIoU loss (K,) of boxes in one frame."""
    iou = iou_of(pred, target)
    # Written as a step away from the target, so that it is the target itself where both are equal.
    away = 1 - (1 - iou.detach()).clamp(0.6, 0.99) if isinstance(alpha, str) else 1 - alpha
    interpolated = Box(*(t + away * (p - t) for p, t in zip(pred, target, strict=True)))
    return 1 - iou + 1 - iou_of(interpolated, target)


def interp_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, alpha: float | str = 0.98) -> Tensor:
    """InterpIoU loss of boxes (K, 4) xyxy; see `InterpIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        alpha: in (0, 1), or `dynamic`: 1 - IoU of each pair, within .6 and .99, a constant to autograd.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 2].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        InterpIoU: Rethinking Bounding Box Regression, 2025, https://arxiv.org/abs/2507.12420.
    """
    return of_boxes(partial(interp_iou, alpha=_require_alpha(alpha)), boxes1, boxes2, reduction)


class InterpIoU(OverlapLoss):
    """Reach disjoint boxes with plain IoU, of a box between prediction and target, and with no penalty at all.

        L = 1 - IoU(pred, target) + 1 - IoU((1 - alpha) pred + alpha target, target)

    The box between has come nearly all the way, so it meets the target while the prediction is up to 1 / (1 - alpha)
    sides off: 50 at .98. Beyond, the loss is flat. Its authors call penalties of centre and shape unnecessary.

    Args:
        alpha: in (0, 1), or `dynamic`: 1 - IoU of each pair, within .6 and .99, a constant to autograd.

    Reference:
        InterpIoU: Rethinking Bounding Box Regression with Interpolation-Based IoU Optimization, https://arxiv.org/abs/2507.12420.
    """

    info = LossInfo(
        name="interp-iou",
        summary="Overlap of the prediction and of a box most of the way to its target; no penalty.",
        formula="1 - IoU + 1 - IoU((1 - alpha) pred + alpha target, target); alpha = .98",
        range="[0, 2]",
        space="boxes",
        vanishes_when_disjoint=False,
        symmetric=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        reference="InterpIoU: Rethinking Bounding Box Regression, 2025, https://arxiv.org/abs/2507.12420",
    )

    def __init__(self, alpha: float | str = 0.98) -> None:
        super().__init__()
        self.alpha = _require_alpha(alpha)

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        return interp_iou(pred, target, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"alpha={self.alpha!r}"


def _require_alpha(alpha: float | str) -> float | str:
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 < alpha < 1
    if number or alpha == DYNAMIC:
        return alpha
    raise ConfigError(f'alpha: expected a number between 0 and 1 or "{DYNAMIC}", got {alpha!r}.')
