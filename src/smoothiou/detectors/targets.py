"""Training targets beyond torchvision's: `ignore` boxes, and a check that boxes are finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes

from smoothiou.errors import DataError

IGNORE_SHARE = 0.5
"""A negative of which one ignore box covers at least this share is not sampled."""


def prepare_targets(
    transform: nn.Module, args: tuple[Any, ...], output: tuple[ImageList, list[dict[str, Tensor]] | None]
) -> tuple[ImageList, list[dict[str, Tensor]] | None] | None:
    """Resize the ignore boxes of the targets as torchvision's transform resized the other boxes.

    A forward hook of the model's transform; without ignore boxes it changes nothing.

    Raises:
        DataError: a box is not finite (checked on the CPU only: on a GPU it would be a device sync, and the loss
            becomes NaN there), or `ignore` is not of shape (M, 4).
    """
    images, targets = output
    if targets is None:
        return None
    originals = args[0]
    prepared = []
    for index, (target, original, size) in enumerate(zip(targets, originals, images.image_sizes, strict=True)):
        _check_finite(target["boxes"], f"targets[{index}]['boxes']")
        ignore = target.get("ignore")
        if ignore is not None and ignore.numel() > 0:
            if ignore.dim() != 2 or ignore.shape[1] != 4:
                raise DataError(
                    f"targets[{index}]['ignore']: expected boxes of shape (M, 4), got {tuple(ignore.shape)}."
                )
            target = {**target, "ignore": resize_boxes(ignore, list(original.shape[-2:]), list(size))}
        prepared.append(target)
    return images, prepared


def _check_finite(boxes: Tensor, name: str) -> None:
    # torchvision compares corners to find degenerate boxes, and every comparison with NaN is false.
    if boxes.device.type == "cpu" and not boxes.isfinite().all():
        row = int(torch.where(~boxes.isfinite().all(dim=1))[0][0])
        raise DataError(
            f"{name}[{row}] is not finite: {boxes[row].tolist()} (after resizing).",
            hint="Look at the boxes that your data set gives for this image.",
        )


def spare_ignored(labels: list[Tensor], boxes: list[Tensor], targets: list[dict[str, Tensor]]) -> list[Tensor]:
    """Return the labels with -1 (not sampled) for negatives that lie on an ignore box of their image.

    Args:
        labels: of each image, (N,): 0 for negatives, above 0 for positives, -1 for neither.
        boxes: anchors or proposals of each image, xyxy (N, 4).
        targets: of each image; "ignore" (M, 4) is optional.
    """
    return [
        label if (ignore := target.get("ignore")) is None or ignore.numel() == 0 else _spare(label, each, ignore)
        for label, each, target in zip(labels, boxes, targets, strict=True)
    ]


def _spare(labels: Tensor, boxes: Tensor, ignore: Tensor) -> Tensor:
    ignore = ignore.to(boxes.dtype)
    corner = torch.maximum(boxes[:, None, :2], ignore[None, :, :2])
    inter = (torch.minimum(boxes[:, None, 2:], ignore[None, :, 2:]) - corner).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    # A product, not a quotient, so that a box without area lies on nothing.
    lies_on = ((inter >= IGNORE_SHARE * area[:, None]) & (inter > 0)).any(dim=1)
    return labels.masked_fill((labels == 0) & lies_on, -1)
