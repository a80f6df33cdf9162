"""One stage's box loss: how it is called, reduced and remembered, whatever the stage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothiou.boxes import DELTA_WEIGHTS, Weights, deltas_iou, in_float
from smoothiou.errors import ConfigError


class BoxLoss(Protocol):
    """Anything that maps predicted and target deltas of K positives to K losses."""

    def __call__(self, pred_deltas: Tensor, target_deltas: Tensor, *, weights: Weights, anchors: Tensor) -> Tensor:
        """Return (K,) losses, or (K, 4) when they are elementwise."""
        ...


def torchvision_smooth_l1(
    pred_deltas: Tensor,
    target_deltas: Tensor,
    *,
    weights: Weights | None = None,
    anchors: Tensor | None = None,
) -> Tensor:
    """Give torchvision's own box loss, smooth L1 with beta 1/9, elementwise as (K, 4).

    Summing (K, 4) at once, and not row by row, gives stock torchvision's loss to the last bit.
    """
    return F.smooth_l1_loss(pred_deltas, target_deltas, beta=1 / 9, reduction="none")


def try_loss(loss: BoxLoss, *, name: str) -> None:
    """Call a loss once with two boxes, so that what is wrong with it is met before a training.

    Raises:
        ConfigError: it fails, or gives another shape than one number per box.
    """
    deltas, anchors = torch.zeros(2, 4), torch.tensor([[0.0, 0.0, 16.0, 16.0]]).repeat(2, 1)
    stage = StageLoss(loss=loss, name=name)
    one_image = torch.ones(1, 2, dtype=torch.bool)
    try:
        stage(deltas + 0.5, deltas, weights=DELTA_WEIGHTS, anchors=anchors, sampled=2, images=one_image)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"box loss {name} fails on two boxes: {type(error).__name__}: {error}.",
            hint="It is called as loss(pred_deltas, target_deltas, weights=..., anchors=...) -> (K,).",
        ) from error


def which_image(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Return (N, K), whether row k of all images' boxes together is of image n, which has `counts[n]` of them."""
    ends = list(itertools.accumulate(counts, initial=0))
    return torch.stack([(rows >= start) & (rows < end) for start, end in itertools.pairwise(ends)])


@dataclass(eq=False, kw_only=True)
class StageLoss:
    """A box loss as one stage of a detector uses it: `weight * sum over positives / sampled boxes`.

    Not an `nn.Module`, so that the model's state_dict knows nothing of it; it is copied, pickled and moved
    with the model all the same.

    Args:
        loss: the loss of the positives.
        name: how error messages call it.
        weight: factor on the loss.
    """

    loss: BoxLoss
    name: str
    weight: float = 1.0
    last: tuple[Tensor, Tensor, Weights, Tensor | None] | None = None
    """Deltas, coder weights and lambda of the last batch; statistics are computed when somebody asks."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "last": None}

    def __call__(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights,
        anchors: Tensor,
        sampled: float,
        images: Tensor | None = None,
    ) -> Tensor:
        """Return the stage's loss, a scalar.

        Args:
            pred_deltas: (K, 4) of the positives, of their own class where there are classes.
            target_deltas: (K, 4).
            weights: the coder's.
            anchors: (K, 4) xyxy, what the deltas are relative to: anchors (RPN) or proposals (RoI heads).
            sampled: number of sampled boxes, positive and negative, in all images together; where several processes
                share a batch, that of all of them over the number of processes.
            images: (N, K) whether positive k is of image n; handed on to losses that say `needs_images`.
        """
        pred_deltas = in_float(pred_deltas)
        target_deltas = target_deltas.to(pred_deltas.dtype)
        with torch.autocast(pred_deltas.device.type, enabled=False):
            more = {"images": images} if getattr(self.loss, "needs_images", False) else {}
            losses = self.loss(pred_deltas, target_deltas, weights=weights, anchors=anchors, **more)
            count = len(pred_deltas)
            if not isinstance(losses, Tensor) or losses.shape not in ((count,), (count, 4)):
                got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
                raise ConfigError(
                    f"box loss {self.name}: expected one loss per positive box, shape ({count},), got {got}.",
                    hint="Return the losses unreduced; the detector divides their sum by the sampled boxes.",
                )
            # Decoding clamps sizes, which would hide an infinite delta from an IoU loss; 0 * inf is NaN.
            alarm = (pred_deltas.detach() * 0).sum()
            total = self.weight * (losses.sum() / (sampled or 1)) + alarm
        lam = getattr(self.loss, "last_lambda", None)
        self.last = (pred_deltas.detach(), target_deltas.detach(), weights, lam)
        return total

    def state(self) -> dict[str, Tensor]:
        """Return what the loss remembers from step to step; empty for nearly all."""
        return self.loss.state_dict() if isinstance(self.loss, nn.Module) else {}

    def statistics(self) -> dict[str, Tensor]:
        """Return `mean_iou` (NaN without positives), `positives` and, if the loss has one, `lambda`."""
        if self.last is None:
            return {}
        pred, target, weights, lam = self.last
        with torch.no_grad():
            iou = deltas_iou(pred, target, weights=weights)
            values = {"mean_iou": iou.mean(), "positives": pred.new_full((), len(pred))}
        if isinstance(lam, Tensor):
            values["lambda"] = lam.detach()
        return values
