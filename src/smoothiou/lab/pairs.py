"""A loss on pairs of boxes, without a detector: value, and the gradient that descent would follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smoothiou.errors import ConfigError
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import LOSSES, load_loss

PROBED_ROWS = 7
"""Rows that are also computed alone, to see whether the other rows change them."""


def info_of(spec: str) -> Any:
    """Return the `LossInfo` of a built-in loss; None for a loss of one's own."""
    return getattr(LOSSES.get(parse_loss(spec)[0]), "info", None)


def function_of_boxes(spec: str, loss: Any) -> Callable[..., Tensor]:
    """Return a loss as a function of boxes without anchors.

    Raises:
        ConfigError: it has no method `on_boxes`.
    """
    if not callable(getattr(loss, "on_boxes", None)):
        raise ConfigError(
            f"{spec}: has no on_boxes; a loss of a detector's deltas alone cannot be computed on boxes.",
            hint="Give the class a method on_boxes(pred, target, *, box_format) -> (K,).",
        )
    return loss.on_boxes


def value_and_gradient(function: Callable[[Tensor], Tensor], pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return function(pred) (K,) and the gradient (K, 4) of its sum; 0 where it has no graph."""
    leaf = pred.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = function(leaf)
        gradient = torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0] if value.requires_grad else None
    return value.detach(), torch.zeros_like(pred) if gradient is None else gradient


class SinglePairLoss:
    """A loss as it is for a mini-batch of one pair of boxes, computed for many pairs at once where that is the same.

    With one pair in the mini-batch the lambda of `smooth-iou`, a mean over the mini-batch, is the pair's own IoU.

    Args:
        spec: a loss with its options, for example `huber[delta=0.5]` or `package.module:object`.

    Raises:
        ConfigError: no such loss or option, or the loss cannot be called on boxes.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        name, options = parse_loss(spec)
        if name == "smooth-iou" and options.get("lam", "batch") in ("batch", "image", "ema"):
            options = {**options, "lam": "box"}
        loss: Any = load_loss(name, **options)
        if getattr(loss, "stateful", False) and isinstance(loss, nn.Module):
            loss.eval()  # a curve is no training: its averages stay as they begin
        lam = getattr(loss, "lam", None)
        self.lam: float | Literal["iou"] | None = None
        """Lambda: a number, the IoU of the pair, or None for a loss that has none."""
        if lam == "box":
            self.lam = "iou"
        elif isinstance(lam, int | float):
            self.lam = float(lam)
        self._on_boxes = function_of_boxes(spec, loss)
        self._batched: bool | None = None

    def __call__(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each pair, and its gradient.

        Args:
            pred: (K, 4) boxes as x1, y1, x2, y2 in pixels.
            target: (K, 4) boxes, row by row.

        Returns:
            Values (K,), and (K, 4) derivatives by the corners of the predicted box. What the loss treats as a
            constant (lambda, CIoU's alpha) counts as one.
        """
        if self._batched is None:
            self._batched = self._rows_are_independent(pred, target)
        if self._batched:
            return self._batch(pred, target)
        rows = [self._batch(pred[row : row + 1], target[row : row + 1]) for row in range(len(pred))]
        return torch.cat([value for value, _ in rows]), torch.cat([gradient for _, gradient in rows])

    def _batch(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = value_and_gradient(lambda boxes: self._on_boxes(boxes, target), pred)
        if value.shape != pred.shape[:1]:
            expected = f"expected one number for each of the {len(pred)} boxes"
            raise ConfigError(f"{self.spec}: on_boxes: {expected}, got shape {tuple(value.shape)}.")
        return value, gradient

    def _rows_are_independent(self, pred: Tensor, target: Tensor) -> bool:
        """Compare some rows alone with the same rows in the batch: a loss of one's own may look at its mini-batch."""
        batch = self._batch(pred, target)
        for row in torch.linspace(0, len(pred) - 1, min(PROBED_ROWS, len(pred))).long().tolist():
            single = self._batch(pred[row : row + 1], target[row : row + 1])
            if not all(torch.allclose(a[0], b[row], rtol=1e-9, atol=1e-12) for a, b in zip(single, batch, strict=True)):
                return False
        return True
