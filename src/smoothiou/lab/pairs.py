"""A loss on single pairs of boxes: value, and the gradient that a descent would follow."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from smoothiou.errors import ConfigError
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import load_loss

# So many rows are also computed alone, to see whether the others change them.
ROWS_CHECKED = 7


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
        loss = load_loss(name, **options)
        lam = getattr(loss, "lam", None)
        self.lam: float | Literal["iou"] | None = None
        """Lambda: a number, the IoU of the pair, or None for a loss that has none."""
        if lam == "box":
            self.lam = "iou"
        elif isinstance(lam, int | float):
            self.lam = float(lam)
        on_boxes = getattr(loss, "on_boxes", None)
        if not callable(on_boxes):
            raise ConfigError(
                f"{spec}: has no on_boxes, so it is known on a detector's codes only and cannot be drawn for boxes.",
                hint="Give the class a method on_boxes(pred, target, *, box_format) -> (K,).",
            )
        self._on_boxes: Any = on_boxes
        self._together: bool | None = None

    def __call__(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each pair alone, and its gradient.

        Args:
            pred: (K, 4) boxes as x1, y1, x2, y2 in pixels.
            target: (K, 4) boxes, row by row.

        Returns:
            Values (K,), and (K, 4) derivatives by the four corners of the predicted box, by autograd: what the
            loss treats as a constant (lambda, CIoU's alpha) counts as one.
        """
        if self._together is None:
            self._together = self._rows_are_independent(pred, target)
        if self._together:
            return self._all(pred, target)
        rows = [self._all(pred[k : k + 1], target[k : k + 1]) for k in range(len(pred))]
        return torch.cat([value for value, _ in rows]), torch.cat([gradient for _, gradient in rows])

    def _all(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        pred = pred.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = self._on_boxes(pred, target)
            if value.shape != pred.shape[:1]:
                shapes = f"expected one number for each of the {len(pred)} boxes, got shape {tuple(value.shape)}"
                raise ConfigError(f"{self.spec}: on_boxes: {shapes}.")
            gradient = torch.zeros_like(pred)
            if value.requires_grad:
                (found,) = torch.autograd.grad(value.sum(), pred, allow_unused=True)
                gradient = gradient if found is None else found
        return value.detach(), gradient

    def _rows_are_independent(self, pred: Tensor, target: Tensor) -> bool:
        """Compare some rows alone with the same rows among all: a loss of one's own may look at its mini-batch."""
        together = self._all(pred, target)
        rows = torch.linspace(0, len(pred) - 1, min(ROWS_CHECKED, len(pred))).long().tolist()
        for row in rows:
            alone = self._all(pred[row : row + 1], target[row : row + 1])
            same = (torch.allclose(a[0], t[row], rtol=1e-9, atol=1e-12) for a, t in zip(alone, together, strict=True))
            if not all(same):
                return False
        return True
