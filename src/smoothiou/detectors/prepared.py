"""Training images normalised and resized ahead of the step, so that they can be kept: the same numbers, once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from smoothiou.detectors.tf_resize import TensorFlowTransform

Target = dict[str, Any]
Prepare = Callable[[Tensor, Target], tuple[Tensor, Target]]

PREPARED = "prepared"
"""Key of targets whose images and boxes have been prepared."""


class _TakesPrepared:
    """Lets prepared images pass a transform, of which only the batch is left to do."""

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return the batch and the targets, as torchvision's transform does."""
        transform: Any = super()
        if not targets or PREPARED not in targets[0]:
            return transform.forward(images, targets)
        parts: Any = self
        for _ in images:  # a draw that has one outcome; the sampling behind it is to meet the same generator
            parts.torch_choice(parts.min_size)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch = parts.batch_images(images, size_divisible=parts.size_divisible)
        return ImageList(batch, sizes), [dict(target) for target in targets]


class PreparedTransform(_TakesPrepared, GeneralizedRCNNTransform):
    """torchvision's transform, for images that may be prepared."""


class PreparedTensorFlowTransform(_TakesPrepared, TensorFlowTransform):
    """TensorFlow's transform, for images that may be prepared."""


_CLASSES: dict[type, type] = {
    GeneralizedRCNNTransform: PreparedTransform,
    TensorFlowTransform: PreparedTensorFlowTransform,
}


def take_prepared(model: nn.Module) -> Prepare | None:
    """Let a detector train on prepared images as well, and return what prepares one.

    Losses stay what they are, bit for bit: it is the transform's own code that runs, only earlier. Images that are
    not prepared are treated as ever.

    Args:
        model: a torchvision Faster R-CNN, changed in place.

    Returns:
        A function from an image (uint8, (3, H, W)) and its target to both as the transform leaves them; None where
        the transform is another, or draws the size of each image anew.
    """
    transform: Any = getattr(model, "transform", None)
    if type(transform) in _CLASSES.values():
        kind = type(transform)
    elif type(transform) in _CLASSES and len(transform.min_size) == 1:
        kind = _CLASSES[type(transform)]
    else:
        return None
    transform.__class__ = kind
    own = copy.deepcopy(transform).eval()  # in eval mode it draws nothing

    def prepare(image: Tensor, target: Target) -> tuple[Tensor, Target]:
        with torch.no_grad():
            resized, result = own.resize(own.normalize(image.float().div_(255)), dict(target))
            if "ignore" in target:
                old, new = list(image.shape[-2:]), list(resized.shape[-2:])
                result["ignore"] = resize_boxes(target["ignore"], old, new)
        result[PREPARED] = torch.ones(())
        return resized, result

    return prepare
