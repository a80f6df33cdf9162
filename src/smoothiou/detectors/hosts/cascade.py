"""Cascade R-CNN's second stage: box heads in a row, each trained on the boxes of the one before, at a higher IoU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image

from smoothiou.boxes import Weights, in_float, pairwise_iou
from smoothiou.detectors.clip_after_nms import DetectionsClippedAfterNMS
from smoothiou.detectors.hosts.roi_heads import SparingRoIHeads
from smoothiou.detectors.stage_loss import BoxLossStage, Sizes, Targets
from smoothiou.detectors.targets import spare_ignored
from smoothiou.detectors.torchvision_losses import torchvision_smooth_l1


class CascadeStage(nn.Module):
    """One stage: crops to class logits and to deltas that all classes share.

    Args:
        box_head: crops to features.
        box_predictor: features to logits (N, classes) and deltas (N, 4).
        iou: with a gt box, from which a box is a positive.
        weights: factors on the deltas.
    """

    def __init__(self, box_head: nn.Module, box_predictor: nn.Module, *, iou: float, weights: Weights) -> None:
        super().__init__()
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.matcher = Matcher(iou, iou, allow_low_quality_matches=False)
        self.box_coder = BoxCoder(weights)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (N, classes) and deltas (N, 4)."""
        return self.box_predictor(self.box_head(crops))

    def refined(self, deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return the boxes (N, 4) of each image that deltas make of them, clipped to the image."""
        decoded = self.box_coder.decode(in_float(deltas), boxes).reshape(-1, 4).split([each.shape[0] for each in boxes])
        return [clip_boxes_to_image(each, sizes[number]) for number, each in enumerate(decoded)]

    def box_regression_loss(
        self, deltas: Tensor, target_deltas: Tensor, boxes: list[Tensor], positive: Tensor, sizes: Sizes
    ) -> Tensor:
        """Return the sum over positives by the number of boxes; the arguments but `positive` are of all boxes."""
        each = torchvision_smooth_l1(deltas[positive], target_deltas[positive])
        return each.sum() / (len(deltas) or 1)


class BoxLossCascadeStage(BoxLossStage, CascadeStage):
    """A stage with another box loss."""

    replaces = CascadeStage

    def box_regression_loss(
        self, deltas: Tensor, target_deltas: Tensor, boxes: list[Tensor], positive: Tensor, sizes: Sizes
    ) -> Tensor:
        """Return the stage's loss; arguments as in `CascadeStage`."""
        return self.box_loss(
            deltas[positive],
            target_deltas[positive],
            weights=self.box_coder.weights,
            anchors=torch.cat(boxes)[positive],
            sampled=len(deltas),
            **self.context(positive, [len(each) for each in boxes], sizes),
        )


class CascadeRoIHeads(SparingRoIHeads):
    """Stages in a row in the place of one head and predictor.

    In training the first stage has the sampled proposals; each later one all boxes of the one before, decoded, clipped
    and without gradient, matched anew at its own IoU. In inference scores are averaged over the stages, and boxes are
    the last one's, as in detectron2. The gradient of each stage's crops is divided by the number of stages, so that
    the backbone is trained no harder.

    Args:
        heads: of a Faster R-CNN, of which all but head and predictor is kept.
        stages: first to last.

    Reference:
        Z. Cai, N. Vasconcelos: Cascade R-CNN, https://arxiv.org/abs/1712.00726.
    """

    def __init__(self, heads: RoIHeads, stages: Sequence[CascadeStage]) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({key: value for key, value in heads.__dict__.items() if key != "_modules"})
        self._modules = {**heads._modules, "box_head": None, "box_predictor": None}
        method = vars(self).get("postprocess_detections")
        if isinstance(method, DetectionsClippedAfterNMS):  # which decodes by its heads: these, and no longer those
            vars(self)["postprocess_detections"] = dataclasses.replace(method, heads=self)
        self.stages = nn.ModuleList(stages)
        self.box_coder = stages[-1].box_coder  # decodes what `run` returns

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (inference), or the losses of classes and of boxes, summed over the stages (training)."""
        # A scripted copy is for inference: TorchScript does not compile the losses.
        if not torch.jit.is_scripting() and self.training and targets is not None:  # pyright: ignore[reportPrivateImportUsage]
            return [], self._losses(features, proposals, image_shapes, targets)
        logits, deltas, before = self.run(features, proposals, image_shapes)
        boxes, scores, labels = self.postprocess_detections(logits, deltas, before, image_shapes)
        detections: list[dict[str, Tensor]] = []
        for number in range(len(boxes)):  # TorchScript knows no zip of lists in a comprehension
            detections.append({"boxes": boxes[number], "labels": labels[number], "scores": scores[number]})
        return detections, {}

    def run(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return what one head and predictor would: logits (N, classes), deltas (N, 4 * classes) and their boxes.

        The logits are the logarithms of the mean of the stages' probabilities.
        """
        boxes, before, deltas = proposals, proposals, proposals[0]
        probabilities: list[Tensor] = []
        for stage in self.stages:
            before = boxes
            logits, deltas = stage(self.box_roi_pool(features, boxes, image_shapes))
            probabilities.append(in_float(logits).softmax(-1))
            boxes = stage.refined(deltas, boxes, image_shapes)  # pyright: ignore[reportCallIssue]
        mean = mean_of_stages(probabilities)
        logits = mean.clamp(min=1.1754943508222875e-38).log()  # float32's smallest normal number
        return logits, deltas.repeat(1, mean.shape[1]), before

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets,
    ) -> dict[str, Tensor]:
        boxes, _, labels, target_deltas = self.select_training_samples(proposals, targets)
        class_losses, box_losses = [], []
        for number, module in enumerate(self.stages):
            stage: Any = module
            if number:
                boxes, labels, target_deltas = _matched(stage, boxes, targets)
            else:
                # The sampler is the detector's, the factors on deltas are the stage's.
                target_deltas = _reweighed(target_deltas, self.stages[-1], stage)
            crops = _ScaledGradient.apply(self.box_roi_pool(features, boxes, image_shapes), 1 / len(self.stages))
            logits, deltas = stage(crops)
            of_all = torch.cat(labels)
            positive = torch.where(of_all > 0)[0]
            box_losses.append(
                stage.box_regression_loss(in_float(deltas), torch.cat(target_deltas), boxes, positive, image_shapes)
            )
            logits = in_float(logits)
            class_losses.append(F.cross_entropy(logits, of_all) if len(of_all) else logits.sum())
            boxes = stage.refined(deltas.detach(), boxes, image_shapes)
        return {
            "loss_classifier": sum(class_losses[1:], class_losses[0]),
            "loss_box_reg": sum(box_losses[1:], box_losses[0]),
        }


def mean_of_stages(probabilities: list[Tensor]) -> Tensor:
    """Return the mean over stages of class probabilities (N, classes) of the same boxes."""
    return torch.stack(probabilities).sum(0) * (1 / len(probabilities))


def _matched(stage: Any, boxes: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return boxes, labels and target deltas of each image for a later stage, without empty and ignored boxes."""
    boxes = [each[((each[:, 2:] - each[:, :2]) > 0).all(1)] for each in boxes]
    gt_boxes = [target["boxes"].to(each.dtype) for target, each in zip(targets, boxes, strict=True)]
    labels, matched_boxes = [], []
    for each, gt, target in zip(boxes, gt_boxes, targets, strict=True):
        if not len(gt) or not len(each):
            labels.append(torch.zeros(len(each), dtype=torch.int64, device=each.device))
            matched_boxes.append(torch.zeros_like(each))
            continue
        matched = stage.matcher(pairwise_iou(gt, each))
        labels.append(torch.where(matched >= 0, target["labels"][matched.clamp(min=0)], 0))
        matched_boxes.append(gt[matched.clamp(min=0)])
    labels = spare_ignored(labels, boxes, targets)
    kept = [label >= 0 for label in labels]
    boxes, labels, matched_boxes = (
        [each[rows] for each, rows in zip(values, kept, strict=True)] for values in (boxes, labels, matched_boxes)
    )
    return boxes, labels, list(stage.box_coder.encode(matched_boxes, boxes))


def _reweighed(target_deltas: list[Tensor], old: Any, new: Any) -> list[Tensor]:
    """Return deltas of one stage's coder as those of another's."""
    factors = [b / a for a, b in zip(old.box_coder.weights, new.box_coder.weights, strict=True)]
    return [each * each.new_tensor(factors) for each in target_deltas]


class _ScaledGradient(torch.autograd.Function):
    """The identity, with a gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.factor, None
