"""The anchors of each detector, for the doctor; to be replaced by the registry of detectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """The anchors of one feature map: its stride, and width and height of each anchor in pixels."""

    stride: int
    sides: tuple[tuple[float, float], ...]


def _level(stride: int, *sizes: int) -> Level:
    """Return torchvision's anchors of some sizes: height / width is the ratio, and half sides are whole numbers."""
    exact = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in (0.5, 1.0, 2.0) for size in sizes]
    return Level(stride, tuple((2.0 * round(width / 2), 2.0 * round(height / 2)) for width, height in exact))


_FPN = tuple(_level(stride, size) for stride, size in ((4, 32), (8, 64), (16, 128), (32, 256), (64, 512)))
_INCEPTION = tuple(
    (256 * scale * math.sqrt(ratio), 256 * scale / math.sqrt(ratio))
    for ratio in (0.5, 1.0, 2.0)
    for scale in (0.25, 0.5, 1.0, 2.0)
)
ANCHORS: Mapping[str, tuple[Level, ...]] = {
    "nano": (_level(16, 16, 32, 64, 128, 256),),
    "resnet18-fpn": _FPN,
    "resnet50-fpn": _FPN,
    "mobilenet-v3-fpn": tuple(_level(stride, 32, 64, 128, 256, 512) for stride in (32, 32, 64)),
    "inception-v2": (Level(16, _INCEPTION),),
    "vgg16": (_level(16, 128, 256, 512),),
}
