"""A loss module for MMDetection's configurations, by its path or, after `register()`, by its name.

    loss_bbox = dict(type="smoothiou.adapters.mmdet.SmoothIoUBoxLoss", loss="smooth-iou", decoded=False)

A head with `reg_decoded_bbox=True` gives boxes in pixels, any other deltas; say which with `decoded`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from smoothiou.boxes import Weights
from smoothiou.errors import ConfigError
from smoothiou.losses import from_spec

STDS = (0.1, 0.1, 0.2, 0.2)
"""MMDetection's usual `target_stds` of a second stage; its RPN and one-stage heads have ones."""


class SmoothIoUBoxLoss(nn.Module):
    """A loss of ours with the call of MMDetection's: `loss(pred, target, weight=None, avg_factor=None)`.

    Args:
        loss: a name with options, or an object.
        loss_weight: factor on it.
        reduction: "mean" (by `avg_factor` where it is given), "sum" or "none".
        decoded: whether the head gives boxes (`reg_decoded_bbox=True`); else deltas.
        target_stds: of the head's coder, for deltas.
    """

    def __init__(
        self,
        loss: str | Any = "smooth-iou",
        loss_weight: float = 1.0,
        reduction: str = "mean",
        decoded: bool = True,
        target_stds: tuple[float, float, float, float] = STDS,
    ) -> None:
        super().__init__()
        self.loss = from_spec(loss)
        self.loss_weight, self.reduction, self.decoded = loss_weight, reduction, decoded
        self.weights: Weights = tuple(1 / std for std in target_stds)  # type: ignore[assignment]

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        **others: Any,
    ) -> Tensor:
        """Return the loss of boxes or deltas (K, 4); `weight` is (K,) or (K, 4), as MMDetection has it."""
        reduction = reduction_override or self.reduction
        if reduction not in ("none", "mean", "sum"):
            raise ConfigError(f"reduction: expected none, mean or sum, got {reduction!r}.")
        each = self.loss.on_boxes(pred, target) if self.decoded else self.loss(pred, target, weights=self.weights)
        each = each if each.ndim == 1 else each.sum(-1)
        if weight is not None:  # of a box that does not count it is 0
            each = each * (weight if weight.ndim == 1 else weight.mean(-1))
        if reduction == "none":
            return self.loss_weight * each
        count = 1 if reduction == "sum" else (max(len(each), 1) if avg_factor is None else avg_factor)
        return self.loss_weight * each.sum() / count


def register() -> type[SmoothIoUBoxLoss]:
    """Register the module with MMDetection, and return it."""
    from mmdet.registry import MODELS  # type: ignore[import-not-found]

    return MODELS.register_module(module=SmoothIoUBoxLoss, force=True)
