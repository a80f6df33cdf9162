"""Wise-IoU, versions 1 and 3."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Box, enclosing, iou_of
from smoothiou.errors import ConfigError
from smoothiou.losses.base import FramedLoss, LossInfo, of_boxes, require_positive
from smoothiou.losses.diou import centre_distance
from smoothiou.losses.lam import LambdaRule


def wise_iou(pred: Box, target: Box) -> Tensor:
    """Wise-IoU v1 (K,) of boxes in one frame; the enclosing box is a constant to autograd, as in the paper."""
    around = Box(*(edge.detach() for edge in enclosing(pred, target)))
    return torch.exp(centre_distance(pred, target, around)) * (1 - iou_of(pred, target))  # Eq. 4, 5


def wise_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Wise-IoU loss, version 1, of boxes (K, 4) xyxy; see `WiseIoU`.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar; the loss of a box lies in [0, 2.7182819].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        Z. Tong et al., Wise-IoU, 2023, https://arxiv.org/abs/2301.10051.
    """
    return of_boxes(wise_iou, boxes1, boxes2, reduction, per_axis=False)


class WiseIoU(FramedLoss):
    """Multiply IoU's loss by the distance of the centres; version 3 spares boxes that are much worse than others.

        v1 = exp(rho^2 / c^2) (1 - IoU),    c: diagonal of the smallest box around both, a constant to autograd
        v3 = r v1,    r = beta / (delta alpha^(beta - delta)),    beta = (1 - IoU) / (its moving mean), constants

    r is 1 at beta = delta, largest at beta = 1 / ln(alpha), and fades for outliers, which are often wrong labels. The
    moving mean is that of all processes; it is kept in checkpoints.

    Args:
        version: 1 or 3.
        alpha: of v3, above 1.
        delta: of v3, above 0. The authors have had (1.9, 3) and (1.7, 2.7).
        memory: share of the moving mean that a batch leaves as it was, in [0, 1). The authors' follows from the length
            of a training; .99 is about 300 batches.
        frame: as in `DIoU`.

    Reference:
        Z. Tong et al.: Wise-IoU, https://arxiv.org/abs/2301.10051.
    """

    info = LossInfo(
        name="wise-iou",
        summary="IoU's loss times the distance of the centres; version 3 spares outliers.",
        formula="exp(distance of centres^2 / diagonal of the enclosing box^2, a constant) (1 - IoU); version = 1",
        range="[0, 2.7182819]",
        space="boxes",
        frame="pixels",
        vanishes_when_disjoint=False,
        weight=10.0,
        weight_source="as giou; none is published for two-stage detectors",
        reference="Z. Tong et al., Wise-IoU, 2023, https://arxiv.org/abs/2301.10051",
    )

    def __init__(
        self,
        version: int = 1,
        alpha: float = 1.7,
        delta: float = 2.7,
        memory: float = 0.99,
        frame: str = "pixels",
    ) -> None:
        super().__init__(frame)
        if version not in (1, 3) or isinstance(version, bool):
            raise ConfigError(f"version: expected 1 or 3, got {version!r}.")
        if require_positive("alpha", alpha) <= 1:
            raise ConfigError(f"alpha: expected a number above 1, got {alpha!r}.")
        self.version, self.alpha, self.delta = version, float(alpha), require_positive("delta", delta)
        self.stateful = version == 3
        # The moving mean of 1 - IoU is 1 minus that of IoU.
        rule = LambdaRule("ema", sync=True, memory=memory, detach=True)
        self.mean_iou = rule if version == 3 else None

    def formula(self, pred: Box, target: Box) -> Tensor:
        """Loss (K,) of boxes in one frame."""
        loss = wise_iou(pred, target)
        if self.mean_iou is None:
            return loss
        iou = iou_of(pred, target).detach()
        beta = (1 - iou) / (1 - self.mean_iou(iou)).clamp(min=1e-6)
        return loss * self.focus(beta)

    def focus(self, beta: Tensor) -> Tensor:
        """The factor r of version 3 (K,), by how much worse a box is than the mean."""
        return beta / self.delta * self.alpha ** (self.delta - beta)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        more = f", alpha={self.alpha:g}, delta={self.delta:g}" if self.version == 3 else ""
        return f"version={self.version}{more}, {super().extra_repr()}"
