"""The peer: stock torchvision in fp32, trained as torchvision's detection references train, in sixty lines.

Written after `references/detection` of torchvision: images decoded each time, flipped, in a `DataLoader` with workers;
losses summed, their values looked at each step, a schedule that steps with the optimizer. Nothing of smoothiou runs in
a step: the body of `nano` is a plain `nn.Module`, its crops are torchvision's RoIAlign, its head torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms.v2 import functional as transforms

from smoothiou.data.records import Dataset as Records
from smoothiou.detectors.nano import CHANNELS, HIDDEN, build_nano


def stock_nano(classes: int, **settings: Any) -> FasterRCNN:
    """Return `nano` with torchvision's RoIAlign, head and losses."""
    model = build_nano(num_classes=classes + 1, **settings)
    model.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2)
    model.roi_heads.box_head = TwoMLPHead(CHANNELS * 7 * 7, HIDDEN)
    return model


def stock_resnet50(classes: int, *, side: int) -> FasterRCNN:
    """Return torchvision's own ResNet-50 pyramid with random weights, all of which learn."""
    return fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=classes + 1, min_size=side, max_size=side
    )


class Photos(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images from their files, each time anew, flipped by chance."""

    def __init__(self, data: Records) -> None:
        self.data = data
        self.numbers = {name: number for number, name in enumerate(data.classes, 1)}

    def __len__(self) -> int:
        return len(self.data.records)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        record = self.data.records[index]
        image = torch.from_numpy(np.array(record.source.read())).permute(2, 0, 1)
        boxes = torch.tensor([box.xyxy for box in record.boxes], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([self.numbers[box.label] for box in record.boxes], dtype=torch.int64)
        if torch.rand(()) < 0.5:
            image, width = image.flip(-1), image.shape[-1]
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        return transforms.to_dtype(image, torch.float32, scale=True), {"boxes": boxes, "labels": labels}


def photo_batches(data: Records, *, batch_size: int, workers: int, seed: int) -> Iterator[Any]:
    """Give batches without end, epoch after epoch."""
    torch.manual_seed(seed)
    loader = DataLoader(
        Photos(data), batch_size=batch_size, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
    )  # fmt: skip
    while True:
        yield from loader


def reference_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any, batch: Any, device: torch.device
) -> None:
    """Take one step of `references/detection/engine.train_one_epoch`."""
    images = [image.to(device) for image in batch[0]]
    targets = [{key: value.to(device) for key, value in target.items()} for target in batch[1]]
    losses = sum(model(images, targets).values())
    if not math.isfinite(losses.item()):
        raise RuntimeError("the loss is not finite")
    optimizer.zero_grad()
    losses.backward()
    optimizer.step()
    schedule.step()


def adamw(
    model: nn.Module, rate: float, decay: float, factor: Callable[[int], float]
) -> tuple[torch.optim.Optimizer, Any]:
    """Return AdamW as one builds it, with no decay of biases and norms, and its schedule."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
