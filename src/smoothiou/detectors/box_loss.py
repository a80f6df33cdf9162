"""torchvision's Faster R-CNN with another box loss, and unchanged otherwise.

`set_box_loss` puts a `StageLoss` into each stage. In training the stage's `forward` passes it the deltas of the
positives; it calls the loss and divides the sum.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from smoothiou.boxes import DELTA_WEIGHTS, Weights, deltas_iou, in_float
from smoothiou.detectors.hosts import STAGE_MODULES, check_stages
from smoothiou.detectors.targets import prepare_targets, spare_ignored
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import STAGES, parse_loss
from smoothiou.losses import load_loss

Model = TypeVar("Model", bound=nn.Module)
Targets = list[dict[str, Tensor]]

BoxLoss = Callable[..., Tensor]
"""loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,), or (K, 4) where it is elementwise."""


def torchvision_smooth_l1(
    pred_deltas: Tensor, target_deltas: Tensor, *, weights: Weights | None = None, anchors: Tensor | None = None
) -> Tensor:
    """Return torchvision's own box loss, smooth L1 with beta 1/9, elementwise (K, 4).

    Summing (K, 4) at once, and not row by row, gives stock torchvision's loss to the last bit.
    """
    return F.smooth_l1_loss(pred_deltas, target_deltas, beta=1 / 9, reduction="none")


@dataclass(eq=False, kw_only=True)
class StageLoss:
    """A box loss as one stage of a detector uses it: `weight * sum over positives / sampled boxes`.

    Not an `nn.Module`, so that it is no part of the model's state_dict; it is copied, pickled and moved with the model.

    Args:
        loss: the loss of the positives.
        name: for error messages.
        weight: factor on the loss.
    """

    loss: BoxLoss
    name: str
    weight: float = 1.0
    last: tuple[Tensor, Tensor, Weights, Tensor | None] | None = field(default=None, init=False)
    """Deltas, weights and lambda of the last batch; statistics are computed only when asked for."""

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
    ) -> Tensor:
        """Return the stage's loss, a scalar.

        Args:
            pred_deltas: (K, 4) of the positives, of their own class where there are classes.
            target_deltas: (K, 4).
            weights: the box coder's factors on the deltas.
            anchors: (K, 4) xyxy, what the deltas are relative to: anchors (RPN) or proposals (RoI heads).
            sampled: number of sampled boxes, positive and negative, in all images of this process.
            images: (N, K) whether positive k is of image n, for losses with `needs_images`.

        Raises:
            ConfigError: the loss is not one number per box.
        """
        pred_deltas = in_float(pred_deltas)
        target_deltas = target_deltas.to(pred_deltas.dtype)
        more = {"images": images} if getattr(self.loss, "needs_images", False) else {}
        with torch.autocast(pred_deltas.device.type, enabled=False):
            losses: Any = self.loss(pred_deltas, target_deltas, weights=weights, anchors=anchors, **more)
            count = len(pred_deltas)
            if not isinstance(losses, Tensor) or losses.shape not in ((count,), (count, 4)):
                got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
                raise ConfigError(
                    f"box loss {self.name}: expected one loss per positive box, shape ({count},), got {got}.",
                    hint="Return the losses unreduced; the detector divides their sum by the sampled boxes.",
                )
            # Decoding clamps sizes, which would hide an infinite delta from an IoU loss; 0 * inf is NaN.
            nan_if_infinite = (pred_deltas.detach() * 0).sum()
            total = self.weight * (losses.sum() / (sampled or 1)) + nan_if_infinite
        self.last = (pred_deltas.detach(), target_deltas.detach(), weights, getattr(self.loss, "last_lambda", None))
        return total

    def state(self) -> dict[str, Tensor]:
        """Return what the loss keeps from step to step; empty for nearly all."""
        return self.loss.state_dict() if isinstance(self.loss, nn.Module) else {}

    def statistics(self) -> dict[str, Tensor]:
        """Return `mean_iou` (NaN without positives), `positives` and, if the loss has one, `lambda`."""
        if self.last is None:
            return {}
        pred, target, weights, lam = self.last
        with torch.no_grad():
            values = {
                "mean_iou": deltas_iou(pred, target, weights=weights).mean(),
                "positives": pred.new_full((), len(pred)),
            }
        return {**values, "lambda": lam.detach()} if isinstance(lam, Tensor) else values


class _BoxLossStage(nn.Module):
    """Moves the loss with its stage, without making it part of the module tree."""

    replaces: ClassVar[type[nn.Module]]
    box_loss: StageLoss

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        if isinstance(self.box_loss.loss, nn.Module):
            self.box_loss.loss._apply(fn, recurse)
        return super()._apply(fn, recurse)


class BoxLossRPN(_BoxLossStage, RegionProposalNetwork):
    """torchvision's region proposal network with another box loss; its lines otherwise."""

    replaces = RegionProposalNetwork

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals (N, 4) of each image and, in training, the losses of objectness and of boxes."""
        if not self.training or targets is None:
            return super().forward(images, features, targets)
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        per_level = [level[0].numel() for level in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        decoded = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.filter_proposals(decoded, objectness, images.image_sizes, per_level)

        labels, matched_boxes = self.assign_targets_to_anchors(anchors, targets)
        labels = spare_ignored(labels, anchors, targets)
        target_deltas = self.box_coder.encode(matched_boxes, anchors)
        positive_masks, negative_masks = self.fg_bg_sampler(labels)
        positive = torch.where(torch.cat(positive_masks))[0]
        sampled = torch.cat([positive, torch.where(torch.cat(negative_masks))[0]])
        loss_rpn_box_reg = self.box_loss(
            deltas[positive],
            torch.cat(target_deltas)[positive],
            weights=self.box_coder.weights,
            anchors=torch.cat(anchors)[positive],
            sampled=len(sampled),
            images=image_masks(positive, [len(boxes) for boxes in anchors]),
        )
        logits = in_float(objectness.flatten()[sampled])
        # Where everything is ignored, torchvision's mean over nothing would be NaN.
        loss_objectness = (
            F.binary_cross_entropy_with_logits(logits, torch.cat(labels)[sampled]) if len(logits) else logits.sum()
        )
        return proposals, {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_rpn_box_reg}


class BoxLossRoIHeads(_BoxLossStage, RoIHeads):
    """torchvision's second stage (boxes only) with another box loss; its lines otherwise."""

    replaces = RoIHeads

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections (inference) or the losses of classes and of boxes (training)."""
        if not self.training or targets is None:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, _, per_image, target_deltas = self.select_training_samples(proposals, targets)
        class_logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        labels = torch.cat(per_image)
        positive = torch.where(labels > 0)[0]
        # Each class has its own four deltas; a positive trains those of its class.
        by_class = deltas.reshape(len(labels), deltas.shape[-1] // 4, 4)
        loss_box_reg = self.box_loss(
            by_class[positive, labels[positive]],
            torch.cat(target_deltas)[positive],
            weights=self.box_coder.weights,
            anchors=torch.cat(proposals)[positive],
            sampled=len(labels),
            images=image_masks(positive, [len(boxes) for boxes in proposals]),
        )
        logits = in_float(class_logits)
        # Where everything is ignored, torchvision's mean over nothing would be NaN.
        loss_classifier = F.cross_entropy(logits, labels) if len(labels) else logits.sum()
        return [], {"loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}

    def select_training_samples(
        self, proposals: list[Tensor], targets: Targets | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return sampled proposals, matched gt indices, labels and target deltas of each image."""
        self.check_targets(targets)
        targets = targets or []
        for target in targets:
            if not target["boxes"].is_floating_point() or target["labels"].dtype != torch.int64:
                got = f"{target['boxes'].dtype} and {target['labels'].dtype}"
                raise TypeError(f"targets: expected boxes of a float type and labels of int64, got {got}")
        gt_boxes = [target["boxes"].to(proposals[0].dtype) for target in targets]
        gt_labels = [target["labels"] for target in targets]
        proposals = self.add_gt_proposals(proposals, gt_boxes)
        matched, labels = self.assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        labels = spare_ignored(labels, proposals, targets)
        rows = self.subsample(labels)
        proposals, matched, labels = (
            [each[index] for each, index in zip(values, rows, strict=True)] for values in (proposals, matched, labels)
        )
        matched_boxes = [
            (boxes if len(boxes) else boxes.new_zeros(1, 4))[index]
            for boxes, index in zip(gt_boxes, matched, strict=True)
        ]
        return proposals, matched, labels, self.box_coder.encode(matched_boxes, proposals)


def image_masks(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Return (N, K), whether row k of all images' boxes together is of image n, which has `counts[n]` of them."""
    masks, start = [], 0
    for count in counts:
        masks.append((rows >= start) & (rows < start + count))
        start += count
    return torch.stack(masks)


_REPLACEMENTS: Mapping[str, type[_BoxLossStage]] = {"rpn": BoxLossRPN, "roi": BoxLossRoIHeads}


def set_box_loss(
    model: Model,
    loss: str | BoxLoss | None,
    *,
    stages: Sequence[str] = STAGES,
    weight: float = 1.0,
    compile: bool = False,
) -> Model:
    """Make a torchvision Faster R-CNN train its boxes with another loss, in one line and in place.

    Parameters, state_dict keys and inference stay as they are. The training loss of the stages becomes `weight * sum
    over positives / number of sampled boxes`, with torchvision's own normaliser; a later call replaces it. Targets may
    then hold "ignore" boxes (M, 4), xyxy in pixels of the image: a negative of which half or more lies on one is not
    sampled.

    Args:
        model: `fasterrcnn_*` or any `GeneralizedRCNN` with torchvision's RegionProposalNetwork and RoIHeads.
        loss: a name (`"smooth-iou"`, `"huber[delta=0.5]"`, `"package.module:object"`), an `nn.Module` without
            trainable parameters, any callable `(pred_deltas, target_deltas, *, weights, anchors) -> (K,)`
            (elementwise (K, 4) is summed too), or None to restore torchvision's own stages. By name each stage gets
            its own loss; an object is shared, but for a `stateful` one, of which each stage gets a copy.
        stages: "rpn" (first stage), "roi" (second stage), or both.
        weight: factor on the box loss in these stages, above 0.
        compile: whether `torch.compile` fuses the loss, at its first call.

    Returns:
        The same model.

    Raises:
        ConfigError: another kind of model, a mask or keypoint head in the "roi" stage, an unknown stage or loss.

    Reference:
        Smooth IoU, Algorithm 1; normaliser: `torchvision.models.detection.{rpn,roi_heads}`.
    """
    stages = check_stages(model, stages)
    if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight > 0):
        raise ConfigError(f"weight: expected a finite number above 0, got {weight!r}.")
    modules: dict[str, Any] = {stage: getattr(model, STAGE_MODULES[stage][0]) for stage in stages}
    transform: Any = model.transform
    hooks = transform._forward_hooks
    if loss is None:
        for module in modules.values():
            if hasattr(module, "box_loss"):
                del module.box_loss
                module.__class__ = module.replaces
        if not box_losses(model):
            for key in [key for key, hook in hooks.items() if hook is prepare_targets]:
                del hooks[key]
        return model
    # Built before anything is changed: a wrong loss leaves the model alone.
    losses = {stage: _stage_loss(loss, weight=weight, compile=compile) for stage in stages}
    for stage, module in modules.items():
        if len(stages) > 1 and getattr(loss, "stateful", False):
            losses[stage] = replace(losses[stage], loss=copy.deepcopy(losses[stage].loss))
        if isinstance(stage_loss := losses[stage].loss, nn.Module):  # its buffers go where the stage is
            stage_loss.to(next(module.parameters()).device)
        # The instance stays the same, with its weights, hooks and device; only its training code changes.
        module.__class__ = _REPLACEMENTS[stage]
        module.box_loss = losses[stage]
    if prepare_targets not in hooks.values():
        transform.register_forward_hook(prepare_targets)
    return model


def box_losses(model: nn.Module) -> dict[str, StageLoss]:
    """Return the box losses that `set_box_loss` has set, by stage."""
    modules = {stage: getattr(model, attribute, None) for stage, (attribute, _) in STAGE_MODULES.items()}
    return {stage: module.box_loss for stage, module in modules.items() if isinstance(module, _BoxLossStage)}


def box_loss_state(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return what the box losses keep from step to step, by stage, for checkpoints.

    Not part of the model's state_dict, so that weights are exchanged freely between losses.
    """
    return {stage: loss.state() for stage, loss in box_losses(model).items()}


def load_box_loss_state(model: nn.Module, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Restore what `box_loss_state` has returned."""
    for stage, values in state.items():
        loss = box_losses(model)[stage].loss
        if isinstance(loss, nn.Module):
            loss.load_state_dict(values)


def try_loss(loss: BoxLoss, *, name: str) -> None:
    """Call a loss once with two boxes, so that a fault is met before a training.

    Raises:
        ConfigError: it fails, or is not one number per box.
    """
    deltas, anchors = torch.zeros(2, 4), torch.tensor([[0.0, 0.0, 16.0, 16.0]]).repeat(2, 1)
    image = torch.ones(1, 2, dtype=torch.bool)
    try:
        stage_loss = StageLoss(loss=loss, name=name)
        stage_loss(deltas + 0.5, deltas, weights=DELTA_WEIGHTS, anchors=anchors, sampled=2, images=image)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"box loss {name} fails on two boxes: {type(error).__name__}: {error}.",
            hint="It is called as loss(pred_deltas, target_deltas, weights=..., anchors=...) -> (K,).",
        ) from error


def _stage_loss(loss: str | BoxLoss, *, weight: float, compile: bool) -> StageLoss:
    if isinstance(loss, str):
        name, options = parse_loss(loss)
        name, loss = loss, load_loss(name, **options)
    else:
        name = getattr(loss, "__name__", type(loss).__name__)
    if not callable(loss):
        raise ConfigError(f"loss: expected a name or a callable, got {type(loss).__name__}.")
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise ConfigError(
            f"loss {name} has trainable parameters, which the model's optimizer would never see.",
            hint="Freeze them with `loss.requires_grad_(False)`, or train them yourself and pass a function.",
        )
    if compile:
        from smoothiou.losses.compiled import compile_loss

        loss = compile_loss(loss)
    return StageLoss(loss=loss, name=name, weight=weight)
