"""One batch in several processes: each computes its own images, and all together what one process would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from smoothiou.detectors.shared_norm import SharedBatchNorm2d


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Which images of a batch are this process's: every `world`-th, from the `rank`-th on.

    Args:
        rank, world: this process and the number of processes.
        images: of the batch, in all processes together; at least one for each.
    """

    rank: int
    world: int
    images: int

    @property
    def own(self) -> range:
        """Places of this process's images in the batch."""
        return range(self.rank, self.images, self.world)

    @property
    def most(self) -> int:
        """Images of the process that has most."""
        return -(-self.images // self.world)


def share_batch(model: nn.Module, share: Share) -> None:
    """Let a detector train on its process's images so that the mean of all processes' gradients is one process's.

    What depends on the whole batch is found out together: the size to which images are padded, the statistics of batch
    norms, the number of sampled boxes by which losses are divided. What is random is drawn for the whole batch by every
    process, from generators that must be in the same state; each uses the part of its own images. Inference does not
    change.

    Each process's losses are its sums times the number of processes, over what one process would divide by: their mean
    over the processes is the loss of the batch.

    Args:
        model: of `build_detector`, changed in place, not yet wrapped in DDP.
        share: of this process.
    """
    parts: Any = model
    parts.transform.torch_choice = _SharedChoice(share)
    parts.transform.batch_images = _SharedSize(parts.transform)
    parts.roi_heads.padded = parts.transform.batch_images.largest
    for stage in (parts.rpn, parts.roi_heads):
        plain = stage.fg_bg_sampler
        stage.fg_bg_sampler = SharedSampler(plain.batch_size_per_image, plain.positive_fraction, share=share)
        for module in stage.modules():
            if hasattr(module, "drop"):
                module.drop = _SharedDropout(share, stage.fg_bg_sampler)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d


class SharedSampler(BalancedPositiveNegativeSampler):
    """torchvision's sampler of anchors and proposals, which samples of each image what one process would.

    One process draws for one image after the other, from one generator, as many numbers as the image has candidates.
    So processes tell each other these counts, each draws for all images, and keeps what it drew for its own.

    Args:
        batch_size_per_image: boxes sampled of an image.
        positive_fraction: share of them that may be positive.
        share: of this process.

    Attributes:
        counts: boxes that the last call has sampled of each image of the batch.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float, *, share: Share) -> None:
        super().__init__(batch_size_per_image, positive_fraction)
        self.share = share
        self.counts: list[int] = []

    @property
    def sampled(self) -> int:
        """Boxes that the last call has sampled of all images of the batch."""
        return sum(self.counts)

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return masks of the positives and of the negatives that are sampled, of each image of this process.

        Args:
            matched_idxs: of each image, 1 or more for a positive, 0 for a negative, -1 for neither.
        """
        candidates = [(torch.where(own >= 1)[0], torch.where(own == 0)[0]) for own in matched_idxs]
        own = dict(zip(self.share.own, zip(matched_idxs, candidates, strict=True), strict=True))
        masks: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.counts = []
        device = matched_idxs[0].device
        for place, counts in enumerate(self._counts_of_all(candidates, device)):
            positives = min(counts[0], int(self.batch_size_per_image * self.positive_fraction))
            negatives = min(counts[1], self.batch_size_per_image - positives)
            self.counts.append(positives + negatives)
            for kind, (count, wanted) in enumerate(zip(counts, (positives, negatives), strict=True)):
                drawn = torch.randperm(count, device=device)[:wanted]
                if place in own:
                    labels, indices = own[place]
                    mask = torch.zeros_like(labels, dtype=torch.uint8)
                    mask[indices[kind][drawn]] = 1
                    masks[kind].append(mask)
        return masks

    def _counts_of_all(self, candidates: list[tuple[Tensor, Tensor]], device: torch.device) -> list[list[int]]:
        """Return the numbers of positives and negatives of each image of the batch, in its order."""
        most = self.share.most
        counts = [[len(positive), len(negative)] for positive, negative in candidates]
        counts += [[0, 0]] * (most - len(counts))
        own = torch.tensor(counts, device=device)
        everyone = [torch.empty_like(own) for _ in range(self.share.world)]
        dist.all_gather(everyone, own)
        in_order = torch.stack(everyone, dim=1).reshape(-1, 2)  # images lie around the processes, one after the other
        return in_order[: self.share.images].tolist()


@dataclass(eq=False)
class _SharedDropout:
    """Stands in for `F.dropout` in the second stage: draws for the boxes of all processes, and takes its own rows."""

    share: Share
    sampler: SharedSampler

    def __call__(self, x: Tensor, drop: float, *, training: bool) -> Tensor:
        if not training or drop == 0:
            return x
        everyone = F.dropout(x.new_ones(self.sampler.sampled, x.shape[1]), drop)
        by_image = everyone.split(self.sampler.counts)
        return x * torch.cat([by_image[place] for place in self.share.own])


@dataclass(eq=False)
class _SharedChoice:
    """Stands in for `torch_choice` of a transform, which draws the size of one image after the other."""

    share: Share
    waiting: list[float] = field(default_factory=list)

    def __call__(self, sizes: tuple[int, ...]) -> int:
        if not self.waiting:
            everyone = [float(torch.empty(1).uniform_(0.0, float(len(sizes)))) for _ in range(self.share.images)]
            self.waiting = [everyone[place] for place in self.share.own]
        return sizes[int(self.waiting.pop(0))]


@dataclass(eq=False)
class _SharedSize:
    """Stands in for `batch_images` of a transform, and pads to the largest image of all processes in training.

    Args:
        transform: whose code pads.
        largest: (height, width) of the last batch's largest image, one pair: the second stage takes from it what its
            maps cover.
    """

    transform: Any
    largest: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        pad = type(self.transform).batch_images
        if not self.transform.training:
            return pad(self.transform, images, size_divisible)
        sides = [(image.shape[-2], image.shape[-1]) for image in images]
        largest = torch.tensor([max(side) for side in zip(*sides, strict=True)], device=images[0].device)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        height, width = largest.tolist()
        self.largest[:] = [(height, width)]
        empty = images[0].new_zeros(()).expand(images[0].shape[0], height, width)
        return pad(self.transform, [*images, empty], size_divisible)[:-1]


def statistics_of_all(statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `box_statistics` would give in one process that had the boxes of all.

    Args:
        statistics: this process's, with `STAGE_mean_iou`, `STAGE_positives` and maybe `STAGE_lambda`.
    """
    stages = [key.removesuffix("_positives") for key in statistics if key.endswith("_positives")]
    rows = []
    for stage in stages:
        count = statistics[f"{stage}_positives"].float()
        iou = statistics[f"{stage}_mean_iou"].float()
        lam = statistics.get(f"{stage}_lambda", torch.zeros_like(count)).float()
        rows.append(torch.stack((count, torch.where(count > 0, iou * count, 0.0), lam * count, lam)))
    if not rows:
        return dict(statistics)
    sums = torch.stack(rows)
    dist.all_reduce(sums)
    result = {}
    for stage, (count, iou, weighted, lam) in zip(stages, (row.unbind(0) for row in sums), strict=True):
        result[f"{stage}_mean_iou"] = iou / count  # NaN without positives, as in one process
        result[f"{stage}_positives"] = count
        if f"{stage}_lambda" in statistics:
            # Of all boxes; without any, what the rule says is the same in all processes.
            result[f"{stage}_lambda"] = torch.where(count > 0, weighted / count, lam / dist.get_world_size())
    return result
