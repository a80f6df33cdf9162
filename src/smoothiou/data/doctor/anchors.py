"""How well the anchors of a detector cover boxes, by arithmetic alone. No torch.

The sizes stand here a second time, since a data set is judged without building a detector; tests compare them with the
detectors themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Level:
    """The anchors of one feature map.

    Args:
        stride: pixels between neighbouring centres, the first of which is at 0.
        sides: width and height of each anchor of a cell, in pixels.
    """

    stride: int
    sides: tuple[tuple[float, float], ...]


def _level(stride: int, *sizes: int) -> Level:
    """Return torchvision's anchors of some sizes: height / width is the ratio, and half sides are whole numbers."""
    sides = []
    for ratio in RATIOS:
        for size in sizes:
            width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
            sides.append((2 * float(np.round(width / 2)), 2 * float(np.round(height / 2))))
    return Level(stride, tuple(sides))


_FPN = tuple(_level(stride, size) for stride, size in ((4, 32), (8, 64), (16, 128), (32, 256), (64, 512)))
_ALL = (32, 64, 128, 256, 512)

ANCHORS: Mapping[str, tuple[Level, ...]] = {
    "nano": (_level(16, 16, 32, 64, 128, 256),),
    "resnet18-fpn": _FPN,
    "resnet50-fpn": _FPN,
    "mobilenet-v3-fpn": (_level(32, *_ALL), _level(32, *_ALL), _level(64, *_ALL)),
    "inception-v2": (
        Level(
            16,
            tuple(
                (256 * scale * math.sqrt(ratio), 256 * scale / math.sqrt(ratio))
                for ratio in RATIOS
                for scale in (0.25, 0.5, 1.0, 2.0)
            ),
        ),
    ),
    "vgg16": (_level(16, 128, 256, 512),),
}


def best_iou(boxes: np.ndarray, size: np.ndarray, *, detector: str) -> np.ndarray:
    """Return for each box the IoU of the anchor that fits it best, wherever on the maps it lies.

    Of one anchor shape the overlap is largest where its centre is nearest along x and along y, so that one place per
    shape is enough.

    Args:
        boxes: corners in the resized image (N, 4), each with an area.
        size: width and height of the resized image of each (N, 2).
        detector: a name in `ANCHORS`.
    """
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for level in ANCHORS[detector]:
        last = np.maximum(np.ceil(size / level.stride), 1) - 1
        place = np.clip(np.round(centre / level.stride), 0, last) * level.stride
        for shape in level.sides:
            half = np.array(shape) / 2
            low = np.maximum(boxes[:, :2], place - half)
            high = np.minimum(boxes[:, 2:], place + half)
            inter = np.clip(high - low, 0, None).prod(axis=1)
            best = np.maximum(best, inter / (sides.prod(axis=1) + math.prod(shape) - inter))
    return best
