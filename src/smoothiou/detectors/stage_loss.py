"""A box loss as one stage of a detector uses it, and what the stages of all hosts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from smoothiou.boxes import Weights, aligned_iou, deltas_iou, in_float
from smoothiou.errors import ConfigError
from smoothiou.losses.base import BoxLoss

Targets = list[dict[str, Tensor]]
Sizes = Sequence[tuple[int, int]]


class _Last(NamedTuple):
    pred: Tensor
    target: Tensor
    weights: Weights | None
    """Of deltas; None: these are boxes."""
    lam: Tensor | None


@dataclass(eq=False, kw_only=True)
class StageLoss:
    """A box loss as one stage of a detector uses it.

    Not an `nn.Module`, so that it is no part of the model's state_dict; it is copied, pickled and moved with the model.

    Args:
        loss: the loss of the positives.
        name: for error messages.
        weight: factor on the loss.
    """

    loss: BoxLoss
    name: str
    weight: float = 1.0
    last: _Last | None = field(default=None, init=False)
    """The last batch; statistics are computed only when asked for."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "last": None}

    def __call__(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights,
        anchors: Tensor,
        sampled: int,
        images: Tensor | None = None,
        image_sizes: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a two-stage detector's stage, a scalar: `weight * sum over positives / sampled boxes`.

        Args:
            pred_deltas: (K, 4) of the positives, of their own class where there are classes.
            target_deltas: (K, 4).
            weights: the box coder's factors on the deltas.
            anchors: (K, 4) xyxy, what the deltas are relative to: anchors (RPN) or proposals (RoI heads).
            sampled: number of sampled boxes, positive and negative, in all images of this process.
            images: (N, K) whether positive k is of image n, for losses with `needs_images`.
            image_sizes: (K, 2) height and width of the image of positive k, for losses with `needs_image_sizes`.

        Raises:
            ConfigError: the loss is not one number per box.
        """
        losses = self.of_deltas(
            pred_deltas, target_deltas, weights=weights, anchors=anchors, images=images, image_sizes=image_sizes
        )
        return self.weight * (losses.sum() / (sampled or 1))

    def of_deltas(
        self, pred_deltas: Tensor, target_deltas: Tensor, *, weights: Weights, anchors: Tensor, **context: Tensor | None
    ) -> Tensor:
        """Return the unweighted losses (K,) or (K, 4) of the positives; arguments as in `__call__`."""
        pred = in_float(pred_deltas)
        target = target_deltas.to(pred.dtype)
        losses = self._checked(pred, self.loss, pred, target, weights=weights, anchors=anchors, **context)
        self.last = _Last(pred.detach(), target.detach(), weights, getattr(self.loss, "last_lambda", None))
        return losses

    def of_boxes(self, pred: Tensor, target: Tensor, **context: Tensor | None) -> Tensor:
        """Return the unweighted losses (K,) or (K, 4) of boxes (K, 4) xyxy, by the loss's `on_boxes`."""
        pred = in_float(pred)
        target = target.to(pred.dtype)
        losses = self._checked(pred, getattr(self.loss, "on_boxes"), pred, target, **context)  # noqa: B009
        self.last = _Last(pred.detach(), target.detach(), None, getattr(self.loss, "last_lambda", None))
        return losses

    def _checked(self, pred: Tensor, loss: BoxLoss, *arguments: Tensor, **named: Any) -> Tensor:
        for key in ("images", "image_sizes"):
            if not getattr(self.loss, f"needs_{key}", False):
                named.pop(key, None)
        with torch.autocast(pred.device.type, enabled=False):
            losses: Any = loss(*arguments, **named)
            count = len(pred)
            if not isinstance(losses, Tensor) or losses.shape not in ((count,), (count, 4)):
                got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
                raise ConfigError(
                    f"box loss {self.name}: expected one loss per positive box, shape ({count},), got {got}.",
                    hint="Return the losses unreduced; the detector divides their sum by the sampled boxes.",
                )
            # Decoding clamps sizes, which would hide an infinite delta from an IoU loss; 0 * inf is NaN.
            nan_if_infinite = pred.detach() * 0
            return losses + (nan_if_infinite if losses.ndim == 2 else nan_if_infinite.sum(1))

    def state(self) -> dict[str, Tensor]:
        """Return what the loss keeps from step to step; empty for nearly all."""
        return self.loss.state_dict() if isinstance(self.loss, nn.Module) else {}

    def statistics(self) -> dict[str, Tensor]:
        """Return `mean_iou` (NaN without positives), `positives` and, if the loss has one, `lambda`."""
        if self.last is None:
            return {}
        pred, target, weights, lam = self.last
        with torch.no_grad():
            iou = aligned_iou(pred, target) if weights is None else deltas_iou(pred, target, weights=weights)
            values = {"mean_iou": iou.mean(), "positives": pred.new_full((), len(pred))}
        return {**values, "lambda": lam.detach()} if isinstance(lam, Tensor) else values


class BoxLossStage(nn.Module):
    """A module of a host whose training code calls a box loss; `set_box_loss` makes an instance of `replaces` one.

    The loss moves with its stage, without being part of the module tree.
    """

    replaces: ClassVar[type[nn.Module]]
    sees: ClassVar[str] = "deltas"
    """What the loss is called with: "deltas" and anchors, or "boxes", through its `on_boxes`."""
    gives: ClassVar[tuple[str, ...]] = ("images", "image_sizes")
    """What a loss may need besides (its `needs_...`) and is given here."""
    box_loss: StageLoss

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        if isinstance(self.box_loss.loss, nn.Module):
            self.box_loss.loss._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def context(self, rows: Tensor, counts: Sequence[int], sizes: Sizes | None = None) -> dict[str, Tensor]:
        """Return what a loss may need besides boxes.

        Args:
            rows: (K,) of the positives, among the boxes of all images together.
            counts: number of boxes of each image.
            sizes: (height, width) of each image, where the stage knows it.
        """
        loss: Any = self.box_loss.loss
        context = {"images": image_masks(rows, counts)} if getattr(loss, "needs_images", False) else {}
        if sizes is not None and getattr(loss, "needs_image_sizes", False):  # waits for the device, so only then
            each = torch.tensor(sizes, dtype=torch.float32, device=rows.device)
            context["image_sizes"] = each.repeat_interleave(torch.tensor(counts, device=rows.device), 0)[rows]
        return context


def image_masks(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Return (N, K), whether row k of all images' boxes together is of image n, which has `counts[n]` of them."""
    masks, start = [], 0
    for count in counts:
        masks.append((rows >= start) & (rows < start + count))
        start += count
    return torch.stack(masks)
