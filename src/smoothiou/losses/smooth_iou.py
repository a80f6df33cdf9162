"""The Smooth IoU loss: the paper's Eq. 7, on boxes as in Algorithm 1 and on deltas for detectors."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import CODE_WEIGHTS, Weights
from smoothiou.errors import ConfigError
from smoothiou.losses._base import float_pair, reduced, require_one_of, require_positive
from smoothiou.losses._lambda import Lambda, batch_mean, lambda_of, require_lambda
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
    delta, lam = require_positive("delta", delta), require_lambda(lam, words=("batch", "box"))
    pred, target = float_pair(pred, target)
    pred = boxes.to_xyxy(pred, box_format=box_format)  # line 2
    target = boxes.to_xyxy(target, box_format=box_format)  # line 3
    huber_loss = huber(pred, target, delta=delta)  # line 4: Eq. 2; that the corners are summed is our reading
    iou = boxes.aligned_iou(pred, target)  # line 5: Eq. 4, 5
    iou_loss = 1 - iou  # line 6
    weight = lambda_of(iou.detach() if detach else iou, lam, sync=False)  # line 8
    return reduced(weight * iou_loss + (1 - weight) * huber_loss, reduction)  # line 10: Eq. 7


class SmoothIoU(nn.Module):
    """The Smooth IoU loss (Eq. 7) for a detector: no anchors, no decoding, no change of architecture.

        L_k = lambda * iou_weight * (1 - IoU_k) + (1 - lambda) * Huber_k,    lambda = mean of IoU_1 ... IoU_K

    IoU is that of the decoded boxes, exactly, since it does not depend on the anchor. Huber stays on the
    deltas, so that for lambda -> 0 this *is* the Huber loss of Faster R-CNN (Eq. 8).

    In several processes lambda is the mean over the boxes of all of them: all must then call the loss equally
    often, those without boxes too. With `detach=False` the gradient is summed over processes likewise.

    Args:
        delta: threshold of Huber (Eq. 2), above 0.
        lam: `batch`, the paper; `box`: the IoU of each box; `image`: the mean over the boxes of its image; `ema`:
            a moving average of the batches' means; or a number in [0, 1].
        detach: whether lambda is a constant to autograd; see `smooth_iou_loss` for the danger if not.
        huber_on: `deltas`; `corners`: the corners in pixels, Algorithm 1 to the letter, which needs anchors;
            or `unit-corners`: the corners measured in sides of the anchor.
        sync: whether lambda is taken over all processes of `torch.distributed`, or over this one's boxes.
        iou_weight: factor on the IoU term, above 0; the paper has 1. In a second stage Huber's gradient is
            three to eight times as large as that of 1 - IoU: see `smoothiou calibrate`.
        memory: share of the moving average that a batch leaves as it was, in [0, 1); for `ema`.

    Attributes:
        last_lambda: lambda of the last call, a scalar tensor without gradient (the mean of them for `box` and
            `image`).
        needs_images: whether calls need `images`.

    Reference:
        M. Arif, M. Jameel, L. Schmidt-Thieme: Directly Optimizing IoU for Bounding Box Localization.
    """

    card = CATALOGUE["smooth-iou"]
    average: Tensor

    def __init__(
        self,
        delta: float = 1.0,
        lam: Lambda = "batch",
        detach: bool = True,
        huber_on: Literal["deltas", "corners", "unit-corners"] = "deltas",
        sync: bool = True,
        iou_weight: float = 1.0,
        memory: float = 0.9,
    ) -> None:
        super().__init__()
        self.delta = require_positive("delta", delta)
        self.lam: Lambda = require_lambda(lam)
        self.detach = detach
        self.huber_on = require_one_of("huber_on", huber_on, ("deltas", "corners", "unit-corners"))
        self.sync = sync
        self.iou_weight = require_positive("iou_weight", iou_weight)
        if isinstance(memory, bool) or not isinstance(memory, int | float) or not 0 <= memory < 1:
            raise ConfigError(f"memory: expected a number of at least 0 and below 1, got {memory!r}.")
        self.memory = float(memory)
        self.needs_images = lam == "image"
        self.last_lambda = torch.zeros(())
        if lam == "ema":
            # The weighted sum of means and the sum of their weights: no start value that would linger.
            self.register_buffer("average", torch.zeros(2))
        if not detach and lam == "ema":
            raise ConfigError(
                'lam="ema" remembers earlier batches, through which no gradient can flow.', hint="Keep detach=True."
            )
        if not detach and isinstance(lam, str):
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
        images: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of every positive box.

        Args:
            pred_deltas: (K, 4) predicted deltas of the positive boxes.
            target_deltas: (K, 4) deltas of their targets.
            weights: factors that the deltas were multiplied by.
            anchors: (K, 4) anchors or proposals in pixels, for `huber_on="corners"` only.
            images: (N, K), 1 where box k is of image n, else 0, for `lam="image"` only.

        Returns:
            (K,), in float32 (float64 for float64 deltas).

        Raises:
            ConfigError: shapes differ, or anchors or images are needed and missing.
        """
        pred, target = float_pair(pred_deltas, target_deltas)
        huber_loss = self._huber(pred, target, weights, anchors)  # line 4
        iou = boxes.deltas_iou(pred, target, weights=weights)  # line 5
        return self._mix(iou, huber_loss, images)

    def on_boxes(
        self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy", images: Tensor | None = None
    ) -> Tensor:
        """Return the loss (K,) of boxes (K, 4): Huber of their four numbers as they are, IoU of the boxes."""
        pred, target = float_pair(pred, target)
        corners = (boxes.to_xyxy(rows, box_format=box_format) for rows in (pred, target))
        return self._mix(boxes.aligned_iou(*corners), huber(pred, target, delta=self.delta), images)

    def _mix(self, iou: Tensor, huber_loss: Tensor, images: Tensor | None) -> Tensor:
        weight = self._lambda(iou.detach() if self.detach else iou, images)  # line 8
        self.last_lambda = weight.detach()
        if weight.ndim:
            self.last_lambda = weight.detach().sum() / max(weight.shape[0], 1)
        return weight * (self.iou_weight * (1 - iou)) + (1 - weight) * huber_loss  # line 10: Eq. 7

    def _lambda(self, iou: Tensor, images: Tensor | None) -> Tensor:
        if self.lam != "ema":
            return lambda_of(iou, self.lam, sync=self.sync, images=images)
        mean, count = batch_mean(iou, sync=self.sync)
        if self.training:
            fresh = torch.stack((mean, torch.ones_like(mean))).to(self.average.dtype)
            # A batch without boxes says nothing, and changes nothing.
            share = (1 - self.memory) * count.clamp(max=1).to(self.average.dtype)
            self.average.lerp_(fresh, share)
        total, weight = self.average.to(iou.dtype).unbind(0)
        return total / weight.clamp(min=1e-12)

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
