"""What a second stage works on, computed once: crops of features, proposals and the gt boxes they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from smoothiou.data.dataset import DetectionDataset, flip_horizontal
from smoothiou.data.records import Dataset
from smoothiou.detectors.features import ImageFeatures, crop, eval_mode, extract_features, propose
from smoothiou.engine.evaluate import OpenedRun
from smoothiou.engine.measure import probes_of
from smoothiou.lab.probe import require_boxes
from smoothiou.metrics import jittered_probes
from smoothiou.metrics.refinement import PROBE_IOU, PROBES_PER_BOX
from smoothiou.progress import track

PER_VIEW = 96
"""Most proposals, and most jittered gt boxes, that one image (or its mirror image) gives: crowds do not dominate."""
TRAINING_PROBES = 1
"""Seed of the jittered gt boxes of training; those of the test have seed 0, and other images."""
BATCH = 8
"""Images that go through the trunk together."""
_STREAM = 3  # of random numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Crops:
    """N boxes as the second stage gets them; rows belong together.

    Args:
        features: (N, channels, cells, cells) crops of the feature maps, in half precision.
        proposals: (N, 4) float32, xyxy in pixels of the resized image.
        gt_boxes: (N, 4) float32, the box each is to be refined to.
        labels: (N,) its class, from 1.
        limits: (N, 4) width, height, width, height of the resized image.
        image_ids: (N,) number of the image in its split, from 1.
    """

    features: Tensor
    proposals: Tensor
    gt_boxes: Tensor
    labels: Tensor
    limits: Tensor
    image_ids: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> Crops:
        return Crops(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def megabytes(self) -> float:
        """Memory of all tensors."""
        return sum(getattr(self, field.name).nbytes for field in fields(self)) / 2**20

    @property
    def images(self) -> int:
        """Number of images the boxes come from."""
        return len(self.image_ids.unique())


def training_crops(opened: OpenedRun, data: Dataset, *, boxes: int, flip: bool, quiet: bool) -> Crops:
    """Return boxes to train on: proposals of the first stage with an IoU of 0.5 or more, and jittered gt boxes.

    Images are taken in a fixed random order, each as it is and then mirrored, until there are enough boxes.

    Args:
        opened: the run whose trunk is used.
        data: the training split.
        boxes: how many boxes are enough.
        flip: use mirrored images, too.
        quiet: no progress.

    Raises:
        DataError: the split has no box.
    """
    require_boxes(data)
    order = np.random.default_rng((_STREAM, 0)).permutation(len(data.records)).tolist()
    views = [(index, mirrored) for mirrored in ((False, True) if flip else (False,)) for index in order]
    capacity = min(boxes + 2 * PER_VIEW * BATCH, 2 * PER_VIEW * len(views))
    batches = _training_batches(opened, data, views)
    return _collect(batches, boxes, capacity=capacity, images=len(views), label="training crops", quiet=quiet)


def probe_crops(opened: OpenedRun, data: Dataset, *, boxes: int, quiet: bool) -> Crops:
    """Return the probes of a split (`measure.probes_of`), those of a random part of its images where it has more.

    Args:
        opened: the run whose trunk is used.
        data: the split to test on.
        boxes: how many boxes are enough.
        quiet: no progress.

    Raises:
        DataError: the split has no box.
    """
    require_boxes(data)
    order = np.random.default_rng((_STREAM, 1)).permutation(len(data.records)).tolist()
    counts = [PROBES_PER_BOX * sum(not box.ignored for box in record.boxes) for record in data.records]
    capacity = min(boxes + BATCH * max(counts), sum(counts))
    batches = _probe_batches(opened, data, order)
    return _collect(batches, boxes, capacity=capacity, images=len(order), label="test crops", quiet=quiet)


def _collect(batches: Iterator[Crops], boxes: int, *, capacity: int, images: int, label: str, quiet: bool) -> Crops:
    """Join batches until there are enough boxes; never more than `capacity`."""
    parts: list[Crops] = []
    features, count = torch.empty(0), 0
    for part in track(batches, total=-(-images // BATCH), label=f"{label}  batch", quiet=quiet):
        if not parts:  # filled batch by batch: joined at the end, features would need their memory twice
            features = part.features.new_empty((capacity, *part.features.shape[1:]))
        features[count : count + len(part)] = part.features
        count += len(part)
        parts.append(replace(part, features=features[:0]))
        if count >= boxes:
            break
    joined = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Crops)}
    return Crops(**{**joined, "features": features[:count]})


def _training_batches(opened: OpenedRun, data: Dataset, views: list[tuple[int, bool]]) -> Iterator[Crops]:
    images = DetectionDataset(data, cache_mb=0)
    for batch in _batched(views):
        samples = [flip_horizontal(*images[index]) if mirrored else images[index] for index, mirrored in batch]
        with _inference(opened):
            features = extract_features(
                opened.model, [image.to(opened.placement.device).float().div_(255) for image, _ in samples]
            )
            gt_boxes = features.resize([target["boxes"] for _, target in samples])
            proposals = [each.float() for each in propose(opened.model, features)]
            boxes, gt_indices = [], []
            for n, ((index, mirrored), (image, target)) in enumerate(zip(batch, samples, strict=True)):
                random = np.random.default_rng((_STREAM, 2, index, mirrored))
                size, view = (image.shape[-1], image.shape[-2]), 2 * index + mirrored
                probes = jittered_probes(target["boxes"].numpy(), image_id=view, image_size=size, seed=TRAINING_PROBES)
                chosen = _some(torch.arange(len(probes)), random)
                # A column of zeros, because an image without gt boxes has no best one.
                best = functional.pad(box_iou(proposals[n], gt_boxes[n]), (0, 1)).max(dim=1)
                positive = _some(torch.where(best.values >= PROBE_IOU[0])[0], random)
                jittered = features.resize_one(torch.from_numpy(probes)[chosen], image=n)
                boxes.append(torch.cat([jittered, proposals[n][positive]]))
                gt_indices.append(torch.cat([(chosen // PROBES_PER_BOX).to(positive.device), best.indices[positive]]))
            labels = [target["labels"].to(gt.device)[gt] for (_, target), gt in zip(samples, gt_indices, strict=True)]
            gt_boxes = [each[gt] for each, gt in zip(gt_boxes, gt_indices, strict=True)]
            part = _crops(opened, features, boxes, gt_boxes, labels, [index + 1 for index, _ in batch])
        yield part


def _probe_batches(opened: OpenedRun, data: Dataset, order: list[int]) -> Iterator[Crops]:
    images = DetectionDataset(data, cache_mb=0)
    for batch in _batched(order):
        probes, labels, gt_boxes = zip(
            *(map(torch.from_numpy, probes_of(data.records[n], n + 1, data.classes)) for n in batch), strict=True
        )
        with _inference(opened):
            features = extract_features(
                opened.model, [images[n][0].to(opened.placement.device).float().div_(255) for n in batch]
            )
            boxes = features.resize(probes)
            labels = [each.to(boxes[0].device) for each in labels]
            part = _crops(opened, features, boxes, features.resize(gt_boxes), labels, [n + 1 for n in batch])
        yield part


def _some(rows: Tensor, random: np.random.Generator) -> Tensor:
    """Return at most 96 of the rows, chosen at random, in their order."""
    return rows[torch.from_numpy(np.sort(random.permutation(len(rows))[:PER_VIEW])).to(rows.device)]


def _batched(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _crops(
    opened: OpenedRun,
    features: ImageFeatures,
    boxes: list[Tensor],
    gt_boxes: list[Tensor],
    labels: Sequence[Tensor],
    image_ids: list[int],
) -> Crops:
    """Return the crops of the boxes (N, 4) of each image of a batch."""
    half = torch.bfloat16 if opened.placement.precision == "bf16" else torch.float16
    sizes = [each.new_tensor([w, h, w, h]).expand_as(each) for each, (h, w) in zip(boxes, features.sizes, strict=True)]
    return Crops(
        features=crop(opened.model, features, boxes).to(half),
        proposals=torch.cat(boxes),
        gt_boxes=torch.cat(gt_boxes),
        labels=torch.cat(tuple(labels)),
        limits=torch.cat(sizes),
        image_ids=torch.cat([torch.full_like(each, n) for each, n in zip(labels, image_ids, strict=True)]),
    )


@contextmanager
def _inference(opened: OpenedRun) -> Iterator[None]:
    """Run the detector as an evaluation does: eval mode, no gradients, the run's own precision."""
    with eval_mode(opened.model), torch.no_grad(), opened.placement.autocast():
        yield
