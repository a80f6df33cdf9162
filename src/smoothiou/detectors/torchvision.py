"""The loss as a drop-in: torchvision's Faster R-CNN with another box loss, and unchanged otherwise."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from smoothiou.boxes import in_float
from smoothiou.detectors.shared_batch import SharedSampler
from smoothiou.detectors.stage_loss import BoxLoss, StageLoss, which_image
from smoothiou.detectors.targets import prepare_targets, spare_ignored
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.loss_spec import STAGES, parse_loss
from smoothiou.losses import load_loss

Model = TypeVar("Model", bound=nn.Module)


class _LearnsBoxes(nn.Module):
    """What both stages share: a loss that moves with the stage without being part of its module tree."""

    box_loss: StageLoss
    fg_bg_sampler: Any

    def _per_process(self, sampled: int) -> float:
        """Return what a sum over sampled boxes is divided by: their number, or all processes' over the processes."""
        sampler = self.fg_bg_sampler
        return sampler.sampled / sampler.share.world if isinstance(sampler, SharedSampler) else sampled

    def _over_all(self, mean: Tensor, sampled: int) -> Tensor:
        """Return a mean over this process's sampled boxes as its part of the mean over all processes' boxes."""
        whole = self._per_process(sampled)
        return mean if whole == sampled else mean * (sampled / whole)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        if isinstance(self.box_loss.loss, nn.Module):
            self.box_loss.loss._apply(fn, recurse)
        return super()._apply(fn, recurse)


class BoxLossRPN(_LearnsBoxes, RegionProposalNetwork):
    """torchvision's region proposal network with another box loss."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label the anchors as torchvision does, then spare those that lie on ignore boxes."""
        labels, matched_boxes = super().assign_targets_to_anchors(anchors, targets)
        self._anchors = anchors  # torchvision does not hand them to compute_loss
        return spare_ignored(labels, anchors, targets), matched_boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of objectness and of boxes; torchvision's lines but for the box loss."""
        per_image = self.__dict__.pop("_anchors")
        anchors = torch.cat(per_image)
        positive_masks, negative_masks = self.fg_bg_sampler(labels)
        positive = torch.where(torch.cat(positive_masks))[0]
        negative = torch.where(torch.cat(negative_masks))[0]
        sampled = torch.cat([positive, negative])
        all_labels = torch.cat(labels)
        box_loss = self.box_loss(
            pred_bbox_deltas[positive],
            torch.cat(regression_targets)[positive],
            weights=self.box_coder.weights,
            anchors=anchors[positive],
            sampled=self._per_process(sampled.numel()),
            images=which_image(positive, [len(own) for own in per_image]),
        )
        scores = in_float(objectness.flatten()[sampled])
        if sampled.numel() == 0:  # everything is ignored: torchvision's mean over nothing would be NaN
            return scores.sum(), box_loss
        loss = F.binary_cross_entropy_with_logits(scores, all_labels[sampled])
        return self._over_all(loss, sampled.numel()), box_loss


class BoxLossRoIHeads(_LearnsBoxes, RoIHeads):
    """torchvision's second stage (boxes only) with another box loss."""

    padded: Sequence[tuple[int, int]] = ()
    """(height, width) of the largest image of other processes (`share_batch`), to whose size maps are padded."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[dict[str, Tensor]] | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Sample the proposals as torchvision does, ignore boxes honoured."""
        self._targets = targets or []  # torchvision does not hand them to assign_targets_to_proposals
        try:
            return super().select_training_samples(proposals, targets)
        finally:
            del self._targets

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label the proposals as torchvision does, then spare those that lie on ignore boxes."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        return matched, spare_ignored(labels, proposals, self._targets)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (inference, torchvision's own) or losses (training)."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        _check_types(targets)
        proposals, _, labels, regression_targets = self.select_training_samples(proposals, targets)
        # The scale of a map is found from the largest image, which may be another process's.
        crops = self.box_roi_pool(features, proposals, [*image_shapes, *self.padded])
        class_logits, box_regression = self.box_predictor(self.box_head(crops))
        return [], self.compute_loss(class_logits, box_regression, proposals, labels, regression_targets)

    def compute_loss(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> dict[str, Tensor]:
        """Return the losses of classes and of boxes; torchvision's `fastrcnn_loss` but for the box loss."""
        all_labels = torch.cat(labels)
        positive = torch.where(all_labels > 0)[0]
        # Each class has its own four deltas; a positive learns those of its class.
        by_class = box_regression.reshape(len(class_logits), box_regression.shape[-1] // 4, 4)
        box_loss = self.box_loss(
            by_class[positive, all_labels[positive]],
            torch.cat(regression_targets)[positive],
            weights=self.box_coder.weights,
            anchors=torch.cat(proposals)[positive],
            sampled=self._per_process(all_labels.numel()),
            images=which_image(positive, [len(own) for own in proposals]),
        )
        logits = in_float(class_logits)
        if all_labels.numel() == 0:  # everything is ignored: torchvision's mean over nothing would be NaN
            return {"loss_classifier": logits.sum(), "loss_box_reg": box_loss}
        loss = self._over_all(F.cross_entropy(logits, all_labels), all_labels.numel())
        return {"loss_classifier": loss, "loss_box_reg": box_loss}


_STAGES: dict[str, tuple[str, type[nn.Module], type[_LearnsBoxes]]] = {
    "rpn": ("rpn", RegionProposalNetwork, BoxLossRPN),
    "roi": ("roi_heads", RoIHeads, BoxLossRoIHeads),
}


def set_box_loss(
    model: Model,
    loss: str | BoxLoss | Callable[..., Tensor],
    *,
    stages: Sequence[str] = STAGES,
    weight: float = 1.0,
    compile: bool = False,
) -> Model:
    """Make a torchvision Faster R-CNN learn its boxes with another loss, in one line and in place.

    Parameters, state_dict keys and inference stay as they are. In the stages named here the training loss
    becomes `weight * sum over positives / number of sampled boxes`, torchvision's own normaliser; a later
    call replaces the loss of the stages it names. Targets may then hold "ignore" boxes (M, 4), xyxy in pixels
    of the image: a negative of which half or more lies on one is not sampled.

    Args:
        model: `fasterrcnn_*` or any `GeneralizedRCNN` with torchvision's RegionProposalNetwork and RoIHeads.
        loss: a name (`"smooth-iou"`, `"huber[delta=0.5]"`, `"package.module:object"`), an `nn.Module` without
            trainable parameters, or any callable `(pred_deltas, target_deltas, *, weights, anchors) -> (K,)`
            (elementwise (K, 4) is summed too). By name each stage gets its own loss; an object is
            shared, but for one that `remembers` earlier batches, of which each stage gets a copy.
        stages: "rpn" (first stage), "roi" (second stage), or both.
        weight: factor on the box loss in these stages, above 0.
        compile: not yet.

    Returns:
        The same model.

    Raises:
        ConfigError: another kind of model, a mask or keypoint head in the "roi" stage, an unknown stage or
            loss.

    Reference:
        Smooth IoU, Algorithm 1; normaliser: `torchvision.models.detection.{rpn,roi_heads}`.
    """
    stages = _check_stages(stages)
    if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight > 0):
        raise ConfigError(f"weight: expected a finite number above 0, got {weight!r}.")
    for stage in stages:
        check_stage(model, stage)
    chosen = {stage: _as_stage_loss(loss, weight) for stage in stages}
    if len(stages) > 1 and getattr(loss, "remembers", False):
        # Each stage has a lambda of its own, and so what is remembered of it.
        chosen = {stage: dataclasses.replace(own, loss=copy.deepcopy(loss)) for stage, own in chosen.items()}
    for stage, stage_loss in chosen.items():
        attribute, _, replacement = _STAGES[stage]
        module = getattr(model, attribute)
        # The instance stays the same, with its weights, hooks and device; only its training code changes.
        module.__class__ = replacement
        module.box_loss = stage_loss
    transform: Any = model.transform
    if prepare_targets not in transform._forward_hooks.values():
        transform.register_forward_hook(prepare_targets)
    return model


def box_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return what the last training forward says about boxes: 0-dim tensors, computed now, without a sync.

    Keys: "rpn_mean_iou", "rpn_positives", "roi_mean_iou", "roi_positives" and, for losses that have one,
    "rpn_lambda", "roi_lambda". Mean IoU is that of the positives' predicted with their target boxes, NaN
    where there was none. Stages without `set_box_loss`, or not trained yet, have no keys.
    """
    return {
        f"{stage}_{key}": value
        for stage, (attribute, _, _) in _STAGES.items()
        if isinstance(module := getattr(model, attribute, None), _LearnsBoxes)
        for key, value in module.box_loss.statistics().items()
    }


def box_loss_state(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return what the box losses remember from step to step, by stage: for checkpoints.

    Not part of the model's state_dict, so that weights go both ways between losses.
    """
    return {
        stage: module.box_loss.state()
        for stage, (attribute, _, _) in _STAGES.items()
        if isinstance(module := getattr(model, attribute, None), _LearnsBoxes)
    }


def load_box_loss_state(model: nn.Module, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Give the box losses back what `box_loss_state` has returned."""
    for stage, own in state.items():
        loss = getattr(model, _STAGES[stage][0]).box_loss.loss
        if isinstance(loss, nn.Module):
            loss.load_state_dict(own)


def check_stage(model: nn.Module, stage: str) -> None:
    """Refuse a model whose stage is not torchvision's own Faster R-CNN code.

    Raises:
        ConfigError: with what the stage is instead.
    """
    if not isinstance(model, GeneralizedRCNN):
        inside = isinstance(getattr(model, "module", None), GeneralizedRCNN)
        raise ConfigError(
            f"expected a torchvision Faster R-CNN, got {type(model).__name__}.",
            hint="Give `model.module`, before it is wrapped."
            if inside
            else "Two-stage models only: torchvision's fasterrcnn_*, or `build_detector`.",
        )
    attribute, original, replacement = _STAGES[stage]
    module: Any = getattr(model, attribute, None)
    if type(module) not in (original, replacement):
        raise ConfigError(
            f"model.{attribute}: expected torchvision's {original.__name__}, got {type(module).__name__}, "
            "whose training code is not known.",
            hint="Choose the other stage with `stages=`, or call the loss in that class yourself.",
        )
    if stage == "roi" and (module.mask_roi_pool is not None or module.keypoint_roi_pool is not None):
        raise ConfigError(
            f"{type(model).__name__}: the second stage has a mask or keypoint head, which is not supported.",
            hint='Choose stages=("rpn",), which such models allow.',
        )


def _check_stages(stages: Sequence[str]) -> tuple[str, ...]:
    named = (stages,) if isinstance(stages, str) else tuple(stages)
    if not named:
        raise ConfigError("stages: expected rpn, roi or both, got none.")
    for stage in named:
        if stage not in _STAGES:
            raise ConfigError(f"stages: {stage!r} is no stage.", hint=did_you_mean(str(stage), _STAGES))
    return named


def _as_stage_loss(loss: str | BoxLoss | Callable[..., Tensor], weight: float) -> StageLoss:
    if isinstance(loss, str):
        name, options = parse_loss(loss)
        return StageLoss(loss=load_loss(name, **options), name=loss, weight=weight)
    if not callable(loss):
        raise ConfigError(f"loss: expected a name or a callable, got {type(loss).__name__}.")
    name = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise ConfigError(
            f"loss {name} has trainable parameters, which the model's optimizer would never see.",
            hint="Freeze them with `loss.requires_grad_(False)`, or train them yourself and pass a function.",
        )
    return StageLoss(loss=loss, name=name, weight=weight)


def _check_types(targets: list[dict[str, Tensor]] | None) -> None:
    for target in targets or []:
        if target["boxes"].dtype not in (torch.float, torch.double, torch.half):
            raise TypeError(f"target boxes must be of float type, instead got {target['boxes'].dtype}")
        if target["labels"].dtype != torch.int64:
            raise TypeError(f"target labels must be of int64 type, instead got {target['labels'].dtype}")
