"""What the second stage of a detector works on: features of images, proposals, and crops of boxes."""

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
class ImageFeatures:
    """A batch of images after a detector's backbone.

    Args:
        batch: the resized images.
        maps: feature maps by level.
        originals: (height, width) of each image before it was resized.
    """

    batch: ImageList
    maps: dict[str, Tensor]
    originals: list[Size]

    @property
    def sizes(self) -> list[Size]:
        """Return the (height, width) of each resized image."""
        return self.batch.image_sizes

    def resize(self, boxes: Sequence[Tensor]) -> list[Tensor]:
        """Return boxes (N, 4) of each image, in its own pixels, in pixels of the resized image."""
        return [self.resize_one(each, image=index) for index, each in enumerate(boxes)]

    def resize_one(self, boxes: Tensor, *, image: int) -> Tensor:
        """Return boxes (N, 4) of one image of the batch, by index, in pixels of the resized image."""
        # The features' device and type, but never half precision, which would move boxes by pixels.
        like = in_float(next(iter(self.maps.values()))[:0])
        return resize_boxes(boxes.to(like).reshape(-1, 4), list(self.originals[image]), list(self.sizes[image]))


def extract_features(model: Any, images: list[Tensor]) -> ImageFeatures:
    """Return the features of images, of a torchvision Faster R-CNN in eval mode.

    Args:
        model: the detector.
        images: float tensors (3, H, W) in [0, 1] on the model's device; sizes may differ.
    """
    originals: list[Size] = [(image.shape[-2], image.shape[-1]) for image in images]
    batch, _ = model.transform(images, None)
    maps = model.backbone(batch.tensors)
    return ImageFeatures(batch=batch, maps={"0": maps} if isinstance(maps, Tensor) else maps, originals=originals)


def propose(model: Any, features: ImageFeatures) -> list[Tensor]:
    """Return the proposals (N, 4) of each image, best first, in pixels of the resized image."""
    return model.rpn(features.batch, features.maps, None)[0]


def crop(model: Any, features: ImageFeatures, boxes: list[Tensor]) -> Tensor:
    """Return the second stage's crops (boxes of all images, channels, cells, cells).

    Args:
        model: the detector.
        features: of its images.
        boxes: (N, 4) of each image, in pixels of the resized image.
    """
    return model.roi_heads.box_roi_pool(features.maps, boxes, features.sizes)


def second_stage(model: Any, features: ImageFeatures, boxes: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return class logits (N, classes), deltas (N, 4 * classes) and the boxes that these are relative to.

    Args:
        model: the detector; in a cascade the boxes are those that its last stage had.
        features: of its images.
        boxes: (N, 4) of each image, in pixels of the resized image.
    """
    heads = model.roi_heads
    if hasattr(heads, "stages"):
        return heads.run(features.maps, boxes, features.sizes)
    return *heads.box_predictor(heads.box_head(crop(model, features, boxes))), boxes


def layers_of_second_stage(model: Any) -> list[tuple[Any, Any]]:
    """Return the box head and the predictor; of a cascade those of each stage."""
    heads = model.roi_heads
    return [(stage.box_head, stage.box_predictor) for stage in getattr(heads, "stages", [heads])]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and afterwards each module back in its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
