"""What a second stage sees of many boxes, computed once and kept: crops, proposals and the truths they belong to."""

from __future__ import annotations

from collections.abc import Iterator
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
from smoothiou.detectors.crops import Seen, crop, evaluating, propose, see
from smoothiou.engine.evaluate import OpenedRun
from smoothiou.engine.measure import probes_of
from smoothiou.lab.probe import require_boxes
from smoothiou.metrics import jittered_probes
from smoothiou.metrics.refinement import PROBE_IOU, PROBES_PER_BOX
from smoothiou.progress import track

PER_VIEW = 96
"""Most proposals of the first stage, and most jittered truths, that one image (or its mirror image) gives."""
TRAINING_PROBES = 1
"""Seed of the jittered truths that are learnt from; those that are tested on have seed 0, and other images."""
BATCH = 8
"""Images that go through the trunk together."""
_VIEWS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Crops:
    """N boxes as the second stage sees them; rows belong together.

    Args:
        features: (N, channels, cells, cells) crops of the trunk's features, in half precision.
        proposals: (N, 4) float32, xyxy in pixels of the resized image.
        truths: (N, 4) float32, the truth each is to be refined to.
        labels: (N,) its class, from 1.
        limits: (N, 4) width, height, width, height of the resized image.
        numbers: (N,) of the image in its split, from 1.
    """

    features: Tensor
    proposals: Tensor
    truths: Tensor
    labels: Tensor
    limits: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> Crops:
        return Crops(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def megabytes(self) -> float:
        """Return the memory that all of it takes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self)) / 2**20

    @property
    def images(self) -> int:
        """Return how many images the boxes come from."""
        return len(self.numbers.unique())


def training_crops(opened: OpenedRun, data: Dataset, *, boxes: int, flip: bool, quiet: bool) -> Crops:
    """Return boxes to learn from: proposals of the first stage that lie on a truth, and jittered truths.

    A proposal lies on a truth where their IoU is 0.5 or more (torchvision's positives). Images are taken in a random
    order that is always the same, each as it is and then mirrored, until there are enough boxes; one view gives at
    most 96 proposals and 96 jittered truths, chosen at random, so that crowded images do not rule.

    Args:
        opened: the run whose trunk is used.
        data: the training split.
        boxes: how many boxes are enough.
        flip: whether mirrored images are learnt from, too.
        quiet: no progress.

    Raises:
        DataError: the split has no box.
    """
    order = np.random.default_rng((_VIEWS, 0)).permutation(len(data.records)).tolist()
    views = [(index, mirrored) for mirrored in ((False, True) if flip else (False,)) for index in order]
    require_boxes(data)
    most = min(boxes + 2 * PER_VIEW * BATCH, 2 * PER_VIEW * len(views))
    crops = _views(opened, data, views)
    return _until(boxes, crops, most=most, total=len(views), label="learning crops", quiet=quiet)


def test_crops(opened: OpenedRun, data: Dataset, *, boxes: int, quiet: bool) -> Crops:
    """Return the probes of a split (`measure.probes_of`), those of a random part of its images where it has more.

    Args:
        opened: the run whose trunk is used.
        data: the split to test on.
        boxes: how many boxes are enough.
        quiet: no progress.

    Raises:
        DataError: the split has no box.
    """
    order = np.random.default_rng((_VIEWS, 1)).permutation(len(data.records)).tolist()
    require_boxes(data)
    counts = [PROBES_PER_BOX * sum(not box.ignored for box in record.boxes) for record in data.records]
    most = min(boxes + BATCH * max(counts), sum(counts))
    crops = _probes(opened, data, order)
    return _until(boxes, crops, most=most, total=len(order), label="test crops", quiet=quiet)


def _until(boxes: int, batches: Iterator[Crops], *, most: int, total: int, label: str, quiet: bool) -> Crops:
    """Collect batches until there are enough boxes.

    Args:
        boxes: how many are enough.
        batches: crops, batch by batch.
        most: more rows than this cannot come.
        total: images.
        label: what is computed, for the progress line.
        quiet: no progress.
    """
    parts: list[Crops] = []
    features, count = torch.empty(0), 0
    for part in track(batches, total=-(-total // BATCH), label=f"{label}  batch", quiet=quiet):
        if not parts:  # filled as they come: joined at the end, they would need their memory twice
            features = part.features.new_empty((most, *part.features.shape[1:]))
        features[count : count + len(part)] = part.features
        count += len(part)
        parts.append(replace(part, features=features[:0]))
        if count >= boxes:
            break
    joined = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Crops)}
    return Crops(**{**joined, "features": features[:count]})


def _views(opened: OpenedRun, data: Dataset, views: list[tuple[int, bool]]) -> Iterator[Crops]:
    images = DetectionDataset(data, cache_mb=0)
    for batch in _batches(views):
        drawn = [flip_horizontal(*images[index]) if mirrored else images[index] for index, mirrored in batch]
        with _computing(opened):
            seen = see(opened.model, [image.to(opened.placement.device).float().div_(255) for image, _ in drawn])
            truths = seen.resized([target["boxes"] for _, target in drawn])
            proposals = [own.float() for own in propose(opened.model, seen)]
            boxes, owners = [], []
            for place, ((index, mirrored), (image, target)) in enumerate(zip(batch, drawn, strict=True)):
                random = np.random.default_rng((_VIEWS, 2, index, mirrored))
                probes, owner = _jittered(image, target, 2 * index + mirrored, random)
                # A column of zeros, because an image without truths has no best one.
                overlap = functional.pad(box_iou(proposals[place], truths[place]), (0, 1))
                best = overlap.max(dim=1)
                on_truth = _some(torch.where(best.values >= PROBE_IOU[0])[0], random)
                boxes.append(torch.cat([seen.resized_one(probes, image=place), proposals[place][on_truth]]))
                owners.append(torch.cat([owner.to(on_truth.device), best.indices[on_truth]]))
            labels = [target["labels"].to(own.device)[own] for (_, target), own in zip(drawn, owners, strict=True)]
            wanted = [own[owner] for own, owner in zip(truths, owners, strict=True)]
            part = _crops(opened, seen, boxes, wanted, labels, [index + 1 for index, _ in batch])
        yield part


def _jittered(image: Tensor, target: dict[str, Any], number: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return some jittered truths of a view, and the truth that each belongs to."""
    size = (image.shape[-1], image.shape[-2])
    probes = jittered_probes(target["boxes"].numpy(), image_id=number, image_size=size, seed=TRAINING_PROBES)
    kept = _some(torch.arange(len(probes)), random)
    return torch.from_numpy(probes)[kept], kept // PROBES_PER_BOX


def _some(rows: Tensor, random: np.random.Generator) -> Tensor:
    """Return at most 96 of the rows, chosen at random, in their order."""
    return rows[torch.from_numpy(np.sort(random.permutation(len(rows))[:PER_VIEW])).to(rows.device)]


def _probes(opened: OpenedRun, data: Dataset, order: list[int]) -> Iterator[Crops]:
    images = DetectionDataset(data, cache_mb=0)
    for batch in _batches(order):
        probes = [probes_of(data.records[index], index + 1, data.classes) for index in batch]
        with _computing(opened):
            seen = see(
                opened.model, [images[index][0].to(opened.placement.device).float().div_(255) for index in batch]
            )
            boxes = seen.resized([torch.from_numpy(own) for own, _, _ in probes])
            truths = seen.resized([torch.from_numpy(own) for _, _, own in probes])
            labels = [torch.from_numpy(own).to(boxes[0].device) for _, own, _ in probes]
            part = _crops(opened, seen, boxes, truths, labels, [index + 1 for index in batch])
        yield part


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _crops(
    opened: OpenedRun,
    seen: Seen,
    boxes: list[Tensor],
    truths: list[Tensor],
    labels: list[Tensor],
    numbers: list[int],
) -> Crops:
    """Return the crops of the boxes (N, 4) of each image of a batch, with their truths and labels."""
    half = torch.bfloat16 if opened.placement.precision == "bf16" else torch.float16
    limits = [
        own.new_tensor([*size[::-1], *size[::-1]]).expand_as(own) for own, size in zip(boxes, seen.sizes, strict=True)
    ]
    return Crops(
        features=crop(opened.model, seen, boxes).to(half),
        proposals=torch.cat(boxes),
        truths=torch.cat(truths),
        labels=torch.cat(labels),
        limits=torch.cat(limits),
        numbers=torch.cat([torch.full_like(own, number) for own, number in zip(labels, numbers, strict=True)]),
    )


@contextmanager
def _computing(opened: OpenedRun) -> Iterator[None]:
    """Look through the run's detector as an evaluation does: eval mode, no gradients, its own precision."""
    bf16 = opened.placement.precision == "bf16"
    with (
        evaluating(opened.model),
        torch.no_grad(),
        torch.autocast(opened.placement.device.type, torch.bfloat16, enabled=bf16),
    ):
        yield
