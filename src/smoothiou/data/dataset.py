"""Records to tensors; of `data`, only this file and `augment.py` need torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from smoothiou.data.augment import Augment, Target
from smoothiou.data.records import Dataset, Record
from smoothiou.errors import DataError
from smoothiou.slabs import Slabs


class DetectionDataset(torch.utils.data.Dataset[tuple[Tensor, Target]]):
    """Images as uint8 tensors (3, H, W), with their targets.

    A target holds `boxes` (N, 4) float32 as (x1, y1, x2, y2) in pixels with an open end, `labels` (N,) int64
    from 1, `ignore` (M, 4) float32 of difficult and crowd boxes, `image_index` from 0, and `image_id` from 1.

    Args:
        dataset: the records of one split.
        cache_mb: decoded images are cached if those of the whole split fit into so many MiB; 0 never caches any.
        mirror: whether `example` mirrors pixels, `here`, or leaves it to the consumer, `later`: then `mirror` is in the
            target.
        augment: what `example` does to image and target before that, with a generator of the example's own; None for
            nothing. Images are cached as they were before.

    Attributes:
        pixel_bytes: memory that the decoded images of the split need.
        cached: whether they are cached, each after its first use. Every loader process has a cache of its own.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        cache_mb: int,
        mirror: Literal["here", "later"] = "here",
        augment: Augment | None = None,
    ) -> None:
        self.dataset = dataset
        self.mirror = mirror
        self.augment = augment
        self.pixel_bytes = sum(3 * record.width * record.height for record in dataset.records)
        self.cached = 0 < self.pixel_bytes <= cache_mb * 2**20
        self._slabs = Slabs()
        self._images: list[Tensor | None] = [None] * len(dataset.records)
        self._numbers = {name: number for number, name in enumerate(dataset.classes, 1)}

    def __len__(self) -> int:
        return len(self.dataset.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        record = self.dataset.records[index]
        image = self._images[index]
        if image is None:
            image = _pixels(record)
            if self.cached:
                self._images[index] = image = self._slabs.store(image)
        boxes = [box for box in record.boxes if not box.ignored]
        target: Target = {
            "boxes": _corners([box.xyxy for box in boxes]),
            "labels": torch.tensor([self._numbers[box.label] for box in boxes], dtype=torch.int64),
            "ignore": _corners([box.xyxy for box in record.boxes if box.ignored]),
            "image_index": index,
            "image_id": index + 1,
        }
        # A copy, so that what a caller does to an image does not come back with the next epoch.
        return image.clone() if self.cached else image, target

    def example(self, index: int, *, flip: bool, seed: int = 0) -> tuple[Tensor, Target]:
        """Return an image and its target, augmented by a generator of this seed, and mirrored left to right or not."""
        image, target = self[index]
        if self.augment is not None:
            image, target = self.augment(image, target, np.random.default_rng(seed))
        if not flip:
            return image, target
        if self.mirror == "later":
            return image, {**_mirrored(target, image.shape[-1]), "mirror": True}
        return flip_horizontal(image, target)


class TorchDataset(torch.utils.data.Dataset[tuple[Tensor, Target]]):
    """A split for a training loop of PyTorch, with targets as torchvision's detection references have them.

    An image is float32 (3, H, W) in [0, 1]. A target holds `boxes` (N, 4) float32 as (x1, y1, x2, y2) in pixels with an
    open end, `labels` (N,) int64 from 1, `image_id` from 1, `area` (N,) float32 in square pixels, and `iscrowd` (N,)
    int64, all 0: difficult and crowd boxes are no training targets and stand in `ignore` (M, 4).

    Args:
        dataset: the records of one split.
        transform: called with each image and target, returns both.
    """

    def __init__(
        self, dataset: Dataset, *, transform: Callable[[Tensor, Target], tuple[Tensor, Target]] | None = None
    ) -> None:
        self.classes = dataset.classes
        self.transform = transform
        self._images = DetectionDataset(dataset, cache_mb=0)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        pixels, target = self._images[index]
        x1, y1, x2, y2 = target["boxes"].unbind(-1)
        del target["image_index"]
        target |= {"area": (x2 - x1) * (y2 - y1), "iscrowd": torch.zeros_like(target["labels"])}
        image = pixels.float() / 255
        return self.transform(image, target) if self.transform else (image, target)

    @staticmethod
    def collate(batch: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
        """Return the images and the targets of a batch as two lists, for `DataLoader(collate_fn=...)`.

        Args:
            batch: of (image, target).
        """
        return collate(batch)


class PreparedDataset:
    """Images as a detector takes them, prepared once and cached while memory lasts; mirrored ones separately.

    Args:
        images: the source, which need not cache any.
        prepare: makes the detector's image and target of an image and its target.
        cache_mb: the first prepared images are cached, up to so many MiB; 0 where each epoch has others. Every loader
            process has its own cache.
    """

    def __init__(
        self, images: DetectionDataset, prepare: Callable[[Tensor, Target], tuple[Tensor, Target]], *, cache_mb: int
    ) -> None:
        self.images = images
        self.prepare = prepare
        self.bytes_left = cache_mb * 2**20
        self._slabs = Slabs()
        self._cache: dict[tuple[int, bool], tuple[Tensor, Target]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def example(self, index: int, *, flip: bool, seed: int = 0) -> tuple[Tensor, Target]:
        """Return an example of the source, prepared; do not write to the image."""
        prepared = self._cache.get((index, flip))
        if prepared is None:
            prepared = self.prepare(*self.images.example(index, flip=flip, seed=seed))
            size = prepared[0].nbytes
            if size <= self.bytes_left:
                self.bytes_left -= size
                image, target = prepared
                prepared = self._slabs.store(image), {key: self._store(value) for key, value in target.items()}
                self._cache[index, flip] = prepared
        image, target = prepared
        if torch.utils.data.get_worker_info() is None:
            return image, dict(target)
        # A loader process sends tensors through shared memory, an open file each: so copies, not the cache itself.
        return image.clone(), {k: v.clone() if isinstance(v, Tensor) else v for k, v in target.items()}

    def _store(self, value: Any) -> Any:
        return self._slabs.store(value) if isinstance(value, Tensor) else value


def collate(batch: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Return the images and the targets of a batch as two lists, since images differ in size."""
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)


def flip_horizontal(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Return an image and its target mirrored left to right.

    With an open end, column x lands on W - 1 - x, so an edge at x lands on W - x: x1' = W - x2, x2' = W - x1.

    Args:
        image: (C, H, W).
        target: with `boxes` and `ignore`; other entries stay as they are.
    """
    return image.flip(-1), _mirrored(target, image.shape[-1])


def _mirrored(target: Target, width: int) -> Target:
    mirrored = dict(target)
    for key in {"boxes", "ignore"} & target.keys():
        x1, y1, x2, y2 = target[key].unbind(-1)
        mirrored[key] = torch.stack([width - x2, y1, width - x1, y2], dim=-1)
    return mirrored


def _corners(boxes: list[tuple[float, float, float, float]]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _pixels(record: Record) -> Tensor:
    """Return the decoded image (3, H, W), of the size that its boxes were fitted to.

    Raises:
        DataError: the image cannot be read, or has changed since the annotations were.
    """
    pixels = np.array(record.source.read())
    if pixels.shape != (record.height, record.width, 3):
        height, width = pixels.shape[:2]
        raise DataError(
            f"{record.name}: the image is now {width} x {height} pixels, but was "
            f"{record.width} x {record.height} when the data set was read.",
            hint="Start the command again.",
        )
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
