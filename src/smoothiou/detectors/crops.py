"""What a detector's second stage gets to see: the features of images, and the crops of boxes out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes

from smoothiou.boxes import in_float

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Images as the trunk of a detector has seen them.

    Args:
        batch: the resized images.
        features: feature maps by level.
        originals: (height, width) that each image came in.
    """

    batch: ImageList
    features: dict[str, Tensor]
    originals: list[Size]

    @property
    def sizes(self) -> list[Size]:
        """Return the (height, width) that the detector gave each image."""
        return self.batch.image_sizes

    def resized(self, boxes: Sequence[Tensor]) -> list[Tensor]:
        """Return boxes (N, 4) of each image, given in its own pixels, in pixels of the resized image, float32."""
        return [self.resized_one(own, image=place) for place, own in enumerate(boxes)]

    def resized_one(self, boxes: Tensor, *, image: int) -> Tensor:
        """Return boxes (N, 4) of the image at this place of the batch in pixels of the resized image, float32."""
        # The features' device and type, but never half precision, which would move boxes by pixels.
        like = in_float(next(iter(self.features.values()))[:0])
        return resize_boxes(boxes.to(like).reshape(-1, 4), list(self.originals[image]), list(self.sizes[image]))


def see(model: Any, images: list[Tensor]) -> Seen:
    """Return what the trunk of a torchvision Faster R-CNN makes of images; the model should be in eval mode.

    Args:
        model: the detector.
        images: float tensors (3, H, W) in [0, 1] on the model's device; sizes may differ.
    """
    originals: list[Size] = [(image.shape[-2], image.shape[-1]) for image in images]
    batch, _ = model.transform(images, None)
    features = model.backbone(batch.tensors)
    return Seen(
        batch=batch, features={"0": features} if isinstance(features, Tensor) else features, originals=originals
    )


def propose(model: Any, seen: Seen) -> list[Tensor]:
    """Return the proposals (N, 4) of each image, best first, in pixels of the resized image."""
    return model.rpn(seen.batch, seen.features, None)[0]


def crop(model: Any, seen: Seen, boxes: list[Tensor]) -> Tensor:
    """Return the crops (sum of boxes, channels, cells, cells) that the second stage sees of boxes.

    Args:
        model: the detector.
        seen: its images.
        boxes: (N, 4) of each image, in pixels of the resized image.
    """
    return model.roi_heads.box_roi_pool(seen.features, boxes, seen.sizes)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and afterwards each module back in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
