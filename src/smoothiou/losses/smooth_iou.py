"""The Smooth IoU loss for detectors: the paper's Eq. 7 on deltas."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from smoothiou import boxes
from smoothiou.boxes import CODE_WEIGHTS, OfBoxes, OfDeltas, Pairs, Weights
from smoothiou.errors import ConfigError
from smoothiou.losses._base import check_pair, float_pair, require_one_of, require_positive
from smoothiou.losses._lambda import Lambda, LambdaRule
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.huber import huber
from smoothiou.losses.mixture import Mixing, alone, can_mix, mixture


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
        stateful: whether lambda depends on earlier calls.

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
        memory: float = 0.9,
    ) -> None:
        super().__init__()
        self.delta = require_positive("delta", delta)
        self.huber_on = require_one_of("huber_on", huber_on, ("deltas", "corners", "unit-corners"))
        self.iou_weight = require_positive("iou_weight", iou_weight)
        self.rule = LambdaRule(lam, sync=sync, memory=memory, detach=detach)
        self.needs_images = lam == "image"
        self.stateful = lam == "ema"
        self.last_lambda = torch.zeros(())
        if not detach and isinstance(lam, str):
            warnings.warn(
                "SmoothIoU(detach=False): the gradient flows through lambda, and the pull of the IoU term is "
                "2 lambda - 1 + mean Huber instead of lambda. Where boxes are poor and Huber is small that "
                "is negative and pushes boxes apart.",
                UserWarning,
                stacklevel=2,
            )

    @property
    def lam(self) -> Lambda:
        """How lambda is found."""
        return self.rule.lam

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
        if self.huber_on == "deltas" and self._mixes(pred_deltas):
            check_pair(pred_deltas, target_deltas)
            overlap = boxes.OfDeltas(Pairs.iou, boxes.steepest(pred_deltas.dtype), weights)
            return self._mix_at_once(overlap, pred_deltas, target_deltas, images)
        pred, target = float_pair(pred_deltas, target_deltas)
        huber_loss = self._huber(pred, target, weights, anchors)  # line 4
        iou = boxes.deltas_iou(pred, target, weights=weights, gradient_dtype=pred_deltas.dtype)  # line 5
        return self._mix(iou, huber_loss, images)

    def on_boxes(
        self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy", images: Tensor | None = None
    ) -> Tensor:
        """Return the loss (K,) of boxes (K, 4): Huber of their four numbers as they are, IoU of the boxes."""
        given = pred
        if box_format == "xyxy" and self._mixes(pred):
            check_pair(pred, target)
            return self._mix_at_once(boxes.OfBoxes(Pairs.iou, boxes.steepest(pred.dtype)), pred, target, images)
        pred, target = float_pair(pred, target)
        corners = (boxes.to_xyxy(rows, box_format=box_format) for rows in (pred, target))
        iou = boxes.aligned_iou(*corners, gradient_dtype=given.dtype)
        return self._mix(iou, huber(pred, target, delta=self.delta), images)

    def _mixes(self, pred: Tensor) -> bool:
        return (self.rule.detach or not isinstance(self.rule.lam, str)) and can_mix(pred)

    def _mix_at_once(self, overlap: OfBoxes | OfDeltas, pred: Tensor, target: Tensor, images: Tensor | None) -> Tensor:
        own_mean = self.rule.lam == "batch" and (not self.rule.sync or alone())
        mix = Mixing(overlap, self.delta, self.iou_weight, rule=lambda iou: self.rule(iou, images), plain_mean=own_mean)
        loss, weight = mixture(pred, target, mix)
        self._remember(weight)
        return loss

    def _remember(self, weight: Tensor) -> None:
        self.last_lambda = weight.detach()
        if weight.ndim:
            self.last_lambda = weight.detach().sum() / max(weight.shape[0], 1)

    def _mix(self, iou: Tensor, huber_loss: Tensor, images: Tensor | None) -> Tensor:
        weight = self.rule(iou, images)  # line 8
        self._remember(weight)
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
        rule = self.rule
        return (
            f"delta={self.delta}, lam={rule.lam!r}, detach={rule.detach}, huber_on={self.huber_on!r}, "
            f"sync={rule.sync}, iou_weight={self.iou_weight}, memory={rule.memory}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
