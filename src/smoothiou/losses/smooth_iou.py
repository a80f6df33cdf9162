"""The Smooth IoU loss: the paper's Algorithm 1 on boxes, and its Eq. 7 on a detector's deltas."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS, Weights, aligned_iou, decode_deltas, decode_unit, deltas_iou, to_xyxy
from smoothiou.errors import ConfigError
from smoothiou.losses.base import LossInfo, RegisteredLoss, float_pair, reduce, require_one_of, require_positive
from smoothiou.losses.huber import huber
from smoothiou.losses.lam import Lambda, LambdaRule, lambda_of, require_lambda


def smooth_iou(iou: Tensor, huber: Tensor, lam: Tensor, *, iou_weight: float = 1.0) -> Tensor:
    """Loss (K,) of boxes whose IoU and Huber (K,) are known (Eq. 7)."""
    return lam * (iou_weight * (1 - iou)) + (1 - lam) * huber  # Eq. 7; Algorithm 1, line 10


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
    delta, lam = require_positive("delta", delta), require_lambda(lam, names=("batch", "box"))
    pred, target = float_pair(pred, target)
    pred = to_xyxy(pred, box_format=box_format)  # line 2
    target = to_xyxy(target, box_format=box_format)  # line 3
    huber_loss = huber(pred, target, delta=delta)  # line 4: Eq. 2; that the corners are summed is our reading
    iou = aligned_iou(pred, target)  # line 5: Eq. 4, 5
    weight = lambda_of(iou.detach() if detach else iou, lam, sync=False)  # line 8
    return reduce(smooth_iou(iou, huber_loss, weight), reduction)  # line 10: Eq. 7


def codes_as_boxes(deltas: Tensor) -> Tensor:
    """Corners (K, 4) of deltas (K, 4) that are taken, in the order (ty, tx, th, tw), for boxes {y1, x1, h, w}."""
    dx, dy, dw, dh = deltas.unbind(-1)
    return to_xyxy(torch.stack((dy, dx, dh, dw), -1), box_format="yxhw")


class SmoothIoU(RegisteredLoss):
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
        iou_on: `boxes`: IoU of the decoded boxes; or `codes`: of the encoded rows (ty, tx, th, tw) taken for boxes
            {y1, x1, h, w}, as a loss in TensorFlow's Object Detection API would that transforms what it is given:
            lambda is then near 0, and this loss nearly Huber.
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

    info = LossInfo(
        name="smooth-iou",
        summary="The paper's loss: Huber while boxes are far off, 1 - IoU as they get better (Eq. 7).",
        formula="lambda (1 - IoU) + (1 - lambda) huber; lambda = mean IoU of the mini-batch",
        range="[0, inf)",
        space="both",
        vanishes_when_disjoint=False,
        weight_source="the paper",
        also_called="not Smooth-EIoU (extended-iou), IoU-smooth-L1 (SCRDet) or the soft IoU of segmentation",
        reference="M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, Eq. 7",
    )

    def __init__(
        self,
        delta: float = 1.0,
        lam: Lambda = "batch",
        detach: bool = True,
        huber_on: Literal["deltas", "corners", "unit-corners"] = "deltas",
        sync: bool = True,
        iou_weight: float = 1.0,
        memory: float = 0.9,
        iou_on: Literal["boxes", "codes"] = "boxes",
    ) -> None:
        super().__init__()
        self.delta = require_positive("delta", delta)
        self.huber_on = require_one_of("huber_on", huber_on, ("deltas", "corners", "unit-corners"))
        self.iou_on = require_one_of("iou_on", iou_on, ("boxes", "codes"))
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
        """Which lambda is used."""
        return self.rule.lam

    def forward(
        self,
        pred_deltas: Tensor,
        target_deltas: Tensor,
        *,
        weights: Weights = DELTA_WEIGHTS,
        anchors: Tensor | None = None,
        images: Tensor | None = None,
    ) -> Tensor:
        """Loss of every positive box.

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
        if self.iou_on == "codes":
            iou = aligned_iou(codes_as_boxes(pred), codes_as_boxes(target))
        else:
            iou = deltas_iou(pred, target, weights=weights)  # line 5
        return self._smooth_iou(iou, huber_loss, images)  # lines 8, 10

    def on_boxes(
        self, pred: Tensor, target: Tensor, *, box_format: str = "xyxy", images: Tensor | None = None
    ) -> Tensor:
        """Loss (K,) of boxes (K, 4): Huber of their four numbers as they are, IoU of the boxes.

        With `iou_on="codes"` boxes are relative to their target, whose own code is a point that nothing overlaps.

        Args:
            pred: predicted boxes (K, 4), in pixels or any one unit.
            target: target boxes (K, 4), row by row.
            box_format: `xyxy`, `yxhw`, `cxcywh` or `xywh`, of both.
            images: (N, K), whether box k is of image n, for `lam="image"`; None: one image.

        Raises:
            ConfigError: a shape, a type or the format is wrong.
        """
        pred, target = float_pair(pred, target)
        iou = aligned_iou(*(to_xyxy(rows, box_format=box_format) for rows in (pred, target)))
        if self.iou_on == "codes":
            iou = iou.floor()  # 1 where both are equal, else 0
        return self._smooth_iou(iou, huber(pred, target, delta=self.delta), images)

    def _smooth_iou(self, iou: Tensor, huber_loss: Tensor, images: Tensor | None) -> Tensor:
        lam = self.rule(iou, images)  # line 8
        self.last_lambda = lam.detach() if lam.ndim == 0 else lam.detach().sum() / max(lam.shape[0], 1)
        return smooth_iou(iou, huber_loss, lam, iou_weight=self.iou_weight)  # line 10: Eq. 7

    def _huber(self, pred: Tensor, target: Tensor, weights: Weights, anchors: Tensor | None) -> Tensor:
        if self.huber_on == "unit-corners":
            pred, target = decode_unit(pred, weights=weights), decode_unit(target, weights=weights)
        elif self.huber_on == "corners":
            if anchors is None:
                raise ConfigError(
                    'SmoothIoU(huber_on="corners") measures corners in pixels and needs anchors, got none.',
                    hint='Call it with anchors=..., or use huber_on="deltas" or "unit-corners".',
                )
            if anchors.shape != pred.shape:
                raise ConfigError(f"anchors: expected one for each of {len(pred)} boxes, got {tuple(anchors.shape)}.")
            pred = decode_deltas(pred, anchors, weights=weights)  # line 2
            target = decode_deltas(target, anchors, weights=weights)  # line 3
        return huber(pred, target, delta=self.delta)

    def extra_repr(self) -> str:
        """Options, for `print`."""
        rule = self.rule
        return (
            f"delta={self.delta}, lam={rule.lam!r}, detach={rule.detach}, huber_on={self.huber_on!r}, "
            f"sync={rule.sync}, iou_weight={self.iou_weight}, memory={rule.memory}, iou_on={self.iou_on!r}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
