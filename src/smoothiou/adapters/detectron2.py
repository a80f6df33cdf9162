"""detectron2's RPN and box predictors with a box loss of ours; divisors and weights are its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.losses import from_spec


def set_box_loss(model: nn.Module, loss: str | Any, *, stages: tuple[str, ...] = ("rpn", "roi")) -> nn.Module:
    """Make detectron2's `GeneralizedRCNN`, a cascade too, train its boxes with another loss, in place.

    Args:
        model: from `build_model`.
        loss: a name with options, or any callable (pred_deltas, target_deltas, *, weights, anchors) -> (K,).
        stages: "rpn", "roi" (all stages of a cascade), or both.

    Raises:
        ConfigError: no such stage, or another kind of model.
    """
    for stage in stages:
        if stage not in _MARKS:
            raise ConfigError(f"stages: {stage!r} is no stage.", hint=did_you_mean(stage, _MARKS))
        mixin, mark = _MARKS[stage]
        modules: list[Any] = [m for m in model.modules() if hasattr(m, "box2box_transform") and hasattr(m, mark)]
        if not modules:
            raise ConfigError(f"{type(model).__name__}: expected detectron2's GeneralizedRCNN, found no {stage} stage.")
        for module in modules:
            if not isinstance(module, mixin):
                module.__class__ = type(f"BoxLoss{type(module).__name__}", (mixin, type(module)), {})
            module.replacement = (from_spec(loss),)  # a tuple, so that it is no part of the module tree
    return model


class _WithLoss(nn.Module):
    replacement: tuple[Any]
    box2box_transform: Any

    def sum_of_losses(self, deltas: Tensor, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Return the sum over positives (K, 4), K may be 0."""
        target = self.box2box_transform.get_deltas(boxes, gt_boxes)
        with torch.autocast(deltas.device.type, enabled=False):
            each = self.replacement[0](
                deltas.float(), target.float(), weights=self.box2box_transform.weights, anchors=boxes
            )
        return each.sum()


class _Predictor(_WithLoss):  # put before FastRCNNOutputLayers
    num_classes: int

    def box_reg_loss(self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor) -> Tensor:
        positive = torch.where((gt_classes >= 0) & (gt_classes < self.num_classes))[0]
        by_class = pred_deltas.view(len(pred_deltas), -1, 4)
        label = gt_classes[positive] if by_class.shape[1] > 1 else torch.zeros_like(positive)
        total = self.sum_of_losses(by_class[positive, label], proposal_boxes[positive], gt_boxes[positive])
        return total / max(gt_classes.numel(), 1)


class _RPN(_WithLoss):  # put before RPN
    batch_size_per_image: int
    loss_weight: dict[str, float]

    def losses(self, anchors: Any, logits: Any, gt_labels: list[Tensor], deltas: list[Tensor], gt_boxes: Any) -> Any:
        losses = super().losses(anchors, logits, gt_labels, deltas, gt_boxes)  # type: ignore[misc]
        positive = torch.stack(gt_labels) == 1
        boxes = torch.cat([level.tensor for level in anchors]).expand(*positive.shape, 4)[positive]
        total = self.sum_of_losses(torch.cat(deltas, 1)[positive], boxes, torch.stack(list(gt_boxes))[positive])
        count = self.batch_size_per_image * len(gt_labels)
        losses["loss_rpn_loc"] = total / count * self.loss_weight.get("loss_rpn_loc", 1.0)
        return losses


# By stage: what is put before its class, and an attribute by which its modules are found.
_MARKS = {"rpn": (_RPN, "batch_size_per_image"), "roi": (_Predictor, "bbox_pred")}
