"""The losses on a split that nothing is learnt from, as training computes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from smoothiou.data.dataset import DetectionDataset, collate
from smoothiou.data.records import Dataset
from smoothiou.detectors.features import eval_mode, layers_of_second_stage
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.distributed import mean_over_processes
from smoothiou.engine.loop import Row, compute_losses, to_host
from smoothiou.engine.seeding import seed_validation


def validation_losses(model: nn.Module, data: Dataset, config: RunConfig, placement: Placement) -> Row:
    """Return the mean losses over a split, as columns "val_loss", "val_loss_classifier", ...

    Images come unmirrored, in batches of the training's size; anchors and proposals are sampled as in training, at each
    call alike. Weights, batch norms and what a loss keeps from step to step stay as they are.

    Args:
        model: the detector, left in the mode it was in.
        data: the split.
        config: batch size and seed.
        placement: device, precision and rank; every process must call this.
    """
    images = DetectionDataset(data, cache_mb=0)
    sums: dict[str, Tensor] = {}
    seen = 0
    with _computing_losses(model), torch.no_grad():
        for number, indices in enumerate(_batches(len(images), config.train.batch_size, placement)):
            seed_validation(config.train.seed, number, rank=placement.rank)
            losses, total = compute_losses(model, *collate([images[index] for index in indices]), placement)
            for name, value in {**losses, "loss": total}.items():
                sums[name] = sums.get(name, 0.0) + value.float() * len(indices)
            seen += len(indices)
    return to_host(mean_over_processes({f"val_{name}": value / seen for name, value in sums.items()}, placement))


def _batches(images: int, batch_size: int, placement: Placement) -> list[list[int]]:
    """Return the indices of this process's share of each batch.

    The box losses of several processes wait for each other, so that all must have as many batches: there the last
    batch is filled up with the first images, as in torch's `DistributedSampler`.
    """
    starts = range(0, images, batch_size)
    if placement.world_size == 1:
        return [list(range(start, min(start + batch_size, images))) for start in starts]
    shards = (range(start + placement.rank, start + batch_size, placement.world_size) for start in starts)
    return [[index % images for index in shard] for shard in shards]


@contextmanager
def _computing_losses(model: Any) -> Iterator[None]:
    """Let a detector compute its losses, with all layers in eval mode: batch norms stay, nothing is dropped."""
    with eval_mode(model):
        model.train()
        second = [layers for pair in layers_of_second_stage(model) for layers in pair]
        for layers in (model.backbone, model.rpn.head, *second):
            layers.eval()
        yield
