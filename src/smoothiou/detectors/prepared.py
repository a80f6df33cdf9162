"""Training images normalised and resized ahead of the step, so that they can be cached, with the same numbers."""

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


class _AcceptsPrepared:
    """A transform that only batches images which are prepared."""

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return the batch and the targets, as torchvision's transform does."""
        transform: Any = super()
        if not targets or PREPARED not in targets[0]:
            return transform.forward(images, targets)
        parts: Any = self
        for _ in images:  # one outcome, but the sampling that follows must find the generator in the same state
            parts.torch_choice(parts.min_size)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch = parts.batch_images(images, size_divisible=parts.size_divisible)
        return ImageList(batch, sizes), [dict(target) for target in targets]


class PreparedTransform(_AcceptsPrepared, GeneralizedRCNNTransform):
    """torchvision's transform, for images that may be prepared."""


class PreparedTensorFlowTransform(_AcceptsPrepared, TensorFlowTransform):
    """TensorFlow's transform, for images that may be prepared."""


_CLASSES: dict[type, type] = {
    GeneralizedRCNNTransform: PreparedTransform,
    TensorFlowTransform: PreparedTensorFlowTransform,
}


def take_prepared(model: nn.Module) -> Prepare | None:
    """Let a detector train on prepared images as well, and return the function that prepares one.

    Losses stay the same to the bit: the transform's own code runs, only earlier. Other images are treated as before.

    Args:
        model: a torchvision Faster R-CNN, changed in place.

    Returns:
        A function from an image (uint8, (3, H, W)) and its target to both after the transform, where the target says
        "scale" resized to so many times the usual size; None for another transform, and for one that draws the size of
        each image at random.
    """
    transform: Any = getattr(model, "transform", None)
    if type(transform) in _CLASSES.values():
        kind = type(transform)
    elif type(transform) in _CLASSES and len(transform.min_size) == 1:
        kind = _CLASSES[type(transform)]
    else:
        return None
    transform.__class__ = kind
    return _Prepare(transform)


class _Prepare:
    """What `take_prepared` returns; a class, because a loader process may get it by pickle.

    Args:
        transform: of the detector, with one short side.
    """

    def __init__(self, transform: Any) -> None:
        self._transform = copy.deepcopy(transform).eval()  # in eval mode it draws nothing
        (self._shortest,), self._longest = transform.min_size, transform.max_size

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        transform = self._transform
        with torch.no_grad():
            result = dict(target)
            scale = result.pop("scale", 1.0)
            transform.min_size, transform.max_size = (round(self._shortest * scale),), round(self._longest * scale)
            resized, result = transform.resize(transform.normalize(image.float().div_(255)), result)
            if "ignore" in target:
                old, new = list(image.shape[-2:]), list(resized.shape[-2:])
                result["ignore"] = resize_boxes(target["ignore"], old, new)
        result[PREPARED] = torch.ones(())
        return resized, result
