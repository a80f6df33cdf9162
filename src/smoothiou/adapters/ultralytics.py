"""Ultralytics' YOLO with a box loss of ours in the place of 1 - CIoU.

Its trainer builds model and criterion by itself, so the loss is put in by a callback:

    model.add_callback("on_train_start", box_loss_callback("smooth-iou"))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from smoothiou.errors import ConfigError
from smoothiou.losses import from_spec


def box_loss_callback(loss: str | Any, *, weight: float = 1.0) -> Callable[[Any], None]:
    """Return a callback for "on_train_start" that puts a loss into the trainer's model.

    Args:
        loss: as in `replace_box_loss`.
        weight: factor on it, beside YOLO's own `box` gain.
    """
    module = from_spec(loss)  # a wrong name is met before a training

    def on_train_start(trainer: Any) -> None:
        model = getattr(trainer.model, "module", trainer.model)  # inside DistributedDataParallel
        if getattr(model, "criterion", None) is None:
            model.criterion = model.init_criterion()
        replace_box_loss(model.criterion, module, weight=weight)

    return on_train_start


def replace_box_loss(criterion: Any, loss: str | Any, *, weight: float = 1.0) -> Any:
    """Replace the IoU term of a detection criterion, in place; its distribution focal loss and its weights stay.

    A loss sees boxes in cells of the feature map, as YOLO itself does: `nwd` and `mpdiou[side=...]` count in cells.

    Args:
        criterion: `v8DetectionLoss`, or one that holds several (`one2many`, `one2one`).
        loss: a name with options, or an object with `on_boxes(pred, target) -> (K,)`.
        weight: factor on it.

    Raises:
        ConfigError: the criterion has no box loss, or the loss has no `on_boxes`.
    """
    module = from_spec(loss)
    if not callable(getattr(module, "on_boxes", None)):
        raise ConfigError(f"{type(module).__name__}: YOLO gives boxes, not deltas, and it has no `on_boxes`.")
    parts: list[Any] = [getattr(criterion, name, None) for name in ("one2many", "one2one")]
    box_losses = [part.bbox_loss for part in (*parts, criterion) if hasattr(part, "bbox_loss")]
    if not box_losses:
        raise ConfigError(f"{type(criterion).__name__}: expected a criterion of detection, with a `bbox_loss`.")
    for box_loss in box_losses:
        kind = type(box_loss)
        if not issubclass(kind, _Replaced):
            box_loss.__class__ = type(f"{kind.__name__}Replaced", (_Replaced, kind), {})
        box_loss.replacement = (module, weight)  # a tuple, so that it is no part of the module tree
    return criterion


class _Replaced(nn.Module):
    """Put before Ultralytics' `BboxLoss`, whose first result it replaces."""

    replacement: tuple[Any, float]

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        _, *others = super().forward(*args, **kwargs)
        given = inspect.signature(super().forward).bind(*args, **kwargs).arguments
        positive, scores = given["fg_mask"], given["target_scores"]
        module, weight = self.replacement
        each = module.on_boxes(given["pred_bboxes"][positive].float(), given["target_bboxes"][positive].float())
        each = each if each.ndim == 1 else each.sum(1)
        loss = (each * scores.sum(-1)[positive]).sum() / given["target_scores_sum"]
        return weight * loss, *others
