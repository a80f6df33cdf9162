"""The Smooth IoU loss: the paper's Eq. 7, on boxes as in Algorithm 1 and on deltas for detectors."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.errors import ConfigError
from smoothiou.losses._base import float_pair, require_positive
from smoothiou.losses._lambda import Lambda, lambda_of, require_lambda
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.huber import huber


def smooth_iou_loss(
    pred: Tensor,
    target: Tensor,
    *,
    delta: float = 1.0,
    lam: Lambda = "batch",
    detach: bool = True,
    box_format: str = "xyxy",
    reduction: str = "none",
) -> Tensor:
    """Train boxes by distance while they are far off and by overlap as they get better: Algorithm 1.

        L_k = lambda * (1 - IoU_k) + (1 - lambda) * Huber_k,    lambda = mean of IoU_1 ... IoU_K      (Eq. 7)

    Huber is taken on the corners and summed over the four of them, in the units of the boxes: with boxes in
    pixels it is hundreds of times larger than the IoU term. Inside a detector use `SmoothIoU`, which takes
    deltas. Value and gradient are finite for all finite boxes and 0 for equal ones.

    Args:
        pred: predicted boxes (K, 4).
        target: target boxes (K, 4), row by row.
        delta: threshold of Huber (Eq. 2), above 0, in the units of the boxes.
        lam: lambda: `batch` for the mean IoU of the K boxes (the paper), `box` for the IoU of each box, or a
            number in [0, 1]; 0 is Huber (Eq. 8), 1 is 1 - IoU (Eq. 9).
        detach: whether lambda is a constant to autograd (our reading; the paper does not say). If not, each
            IoU also acts through lambda, with -dL/dIoU = 2 lambda - 1 + mean Huber in place of lambda. Where
            boxes are poor and Huber is small that is negative, and training pushes boxes apart.
        box_format: `xyxy`, `yxhw` (Algorithm 1's {y1, x1, h, w}), `cxcywh` or `xywh`, of both inputs.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.

    Returns:
        (K,) for `none`, else a scalar. In float32 (float64 for float64 boxes).

    Raises:
        ConfigError: a shape or an option is wrong.

    Reference:
        M. Arif, M. Jameel, L. Schmidt-Thieme: Directly Optimizing IoU for Bounding Box Localization.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ConfigError(f"reduction: expected none, mean or sum, got {reduction!r}.")
    delta, lam = require_positive("delta", delta), require_lambda(lam)
    given_dtype = pred.dtype
    pred, target = float_pair(pred, target)
    pred = boxes.to_xyxy(pred, box_format=box_format)  # line 2
    target = boxes.to_xyxy(target, box_format=box_format)  # line 3
    huber_loss = huber(pred, target, delta=delta)  # line 4: Eq. 2; that the corners are summed is our reading
    iou = boxes.aligned_iou(pred, target, gradient_dtype=given_dtype)  # line 5: Eq. 4, 5
    iou_loss = 1 - iou  # line 6
    weight = lambda_of(iou.detach() if detach else iou, lam, sync=False)  # line 8
    loss = weight * iou_loss + (1 - weight) * huber_loss  # line 10: Eq. 7
    if reduction == "none":
        return loss
    return loss.sum() / (max(loss.shape[0], 1) if reduction == "mean" else 1)


class SmoothIoU(nn.Module):
    """The Smooth IoU loss (Eq. 7) for a detector: no anchors, no decoding, no change of architecture.

        L_k = lambda * iou_weight * (1 - IoU_k) + (1 - lambda) * Huber_k,    lambda = mean of IoU_1 ... IoU_K

    IoU is that of the decoded boxes, exactly, since it does not depend on the anchor. Huber stays on the
    deltas, so that for lambda -> 0 this *is* the Huber loss of Faster R-CNN (Eq. 8).

    In several processes lambda is the mean over the boxes of all of them: all must then call the loss equally
    often, those without boxes too. With `detach=False` the gradient is summed over processes likewise.

    Args:
        delta: threshold of Huber (Eq. 2), above 0.
        lam: `batch`, `box` or a number in [0, 1], as in `smooth_iou_loss`.
        detach: whether lambda is a constant to autograd; see `smooth_iou_loss` for the danger if not.
        huber_on: `deltas`; `corners`: the corners in pixels, Algorithm 1 to the letter, which needs anchors;
            or `unit-corners`: the corners measured in sides of the anchor.
        sync: whether lambda is taken over all processes of `torch.distributed`, or over this one's boxes.
        iou_weight: factor on the IoU term, above 0. In code units its gradient is about a tenth of Huber's,
            and 10 makes them alike; the paper has 1.

    Attributes:
        last_lambda: lambda of the last call, a scalar tensor without gradient (the mean of them for `box`).

    Reference:
        M. Arif, M. Jameel, L. Schmidt-Thieme: Directly Optimizing IoU for Bounding Box Localization.
    """

    card = CATALOGUE["smooth-iou"]

    def __init__(
        self,
        delta: float = 1.0,
        lam: Lambda = "batch",
        detach: bool = True,
        huber_on: Literal["deltas", "corners", "unit-corners"] = "deltas",
        sync: bool = True,
        iou_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if huber_on not in ("deltas", "corners", "unit-corners"):
            raise ConfigError(f"huber_on: expected deltas, corners or unit-corners, got {huber_on!r}.")
        self.delta = require_positive("delta", delta)
        self.lam: Lambda = require_lambda(lam)
        self.detach = detach
        self.huber_on = huber_on
        self.sync = sync
        self.iou_weight = require_positive("iou_weight", iou_weight)
        self.last_lambda = torch.zeros(())
        if not detach and lam in ("batch", "box"):
            warnings.warn(
                "SmoothIoU(detach=False): the gradient flows through lambda, and the pull of the IoU term is "
                "2 lambda - 1 + mean Huber instead of lambda. Where boxes are poor and Huber is small that "
                "is negative and pushes boxes apart.",
                UserWarning,
                stacklevel=2,
            )

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = CODE_WEIGHTS,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of every positive box.

        Args:
            pred_deltas: (K, 4) predicted deltas of the positive boxes.
            target_deltas: (K, 4) deltas of their targets.
            weights: factors that the deltas were multiplied by.
            anchors: (K, 4) anchors or proposals in pixels, for `huber_on="corners"` only.

        Returns:
            (K,), in float32 (float64 for float64 deltas).

        Raises:
            ConfigError: shapes differ, or anchors are needed and missing.
        """
        pred, target = float_pair(pred_deltas, target_deltas)
        iou = boxes.deltas_iou(pred, target, weights=weights)
        weight = lambda_of(iou.detach() if self.detach else iou, self.lam, sync=self.sync)  # line 8
        self.last_lambda = weight.detach()
        if self.lam == "box":
            self.last_lambda = lambda_of(weight.detach(), "batch", sync=False)
        huber_loss = self._huber(pred, target, weights, anchors)  # line 4
        return weight * (self.iou_weight * (1 - iou)) + (1 - weight) * huber_loss  # line 10: Eq. 7

    def _huber(self, pred: Tensor, target: Tensor, weights: Weights, anchors: Tensor | None) -> Tensor:
        if self.huber_on == "deltas":
            return huber(pred, target, delta=self.delta)
        if self.huber_on == "unit-corners":
            pred = boxes.decode_unit(pred, weights=weights)
            return huber(pred, boxes.decode_unit(target, weights=weights), delta=self.delta)
        if anchors is None:
            raise ConfigError(
                'SmoothIoU(huber_on="corners") measures corners in pixels and needs anchors, got none.',
                hint='Call it with anchors=..., or use huber_on="deltas" or "unit-corners".',
            )
        pred = boxes.decode_deltas(pred, anchors, weights=weights)  # line 2
        return huber(pred, boxes.decode_deltas(target, anchors, weights=weights), delta=self.delta)  # line 3

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        shown = ("delta", "lam", "detach", "huber_on", "sync", "iou_weight")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
