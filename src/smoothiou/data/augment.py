"""Random changes of a training image and its boxes. What is drawn comes from the generator that is passed, no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Target = dict[str, Any]
Augment = Callable[[Tensor, Target, np.random.Generator], tuple[Tensor, Target]]

COLOUR = 0.3
"""Brightness, contrast and saturation change by a factor of up to 1 +- so much."""
HUE = 12.0
"""Degrees of the colour circle by which hues turn, at most."""
GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue are."""
SCALES = (0.75, 1.25)
"""Smallest and largest factor on the size to which the detector resizes an image."""
SIDES = (0.5, 1.0)
"""Smallest and largest share of an image's side that a crop keeps."""
TRIES = 20
"""Crops that are drawn until one holds an object; then the whole image is taken."""


def photometric(image: Tensor, target: Target, draw: np.random.Generator) -> tuple[Tensor, Target]:
    """Change brightness, contrast, saturation and hue of an image (uint8, (3, H, W)); its boxes stay.

        colour = contrast * brightness * saturate(turn(colour)) + (1 - contrast) * brightness * mean grey

    Hues are turned about the axis of greys, so that all of it is one matrix: a tenth of the time of a way through HSV.
    """
    brightness, contrast, saturation = draw.uniform(1 - COLOUR, 1 + COLOUR, 3).tolist()
    angle = math.radians(draw.uniform(-HUE, HUE))
    cos, sin = math.cos(angle), math.sin(angle) / math.sqrt(3)
    identity, grey = torch.eye(3), torch.tensor(GREY).expand(3, 3)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    turn = cos * identity + (1 - cos) / 3 + sin * across
    saturate = saturation * identity + (1 - saturation) * grey
    pixels = image.flatten(1).float()
    mean = torch.tensor(GREY) @ pixels.mean(dim=1)
    colours = torch.addmm(
        (1 - contrast) * brightness * mean.expand(3, 1), contrast * brightness * saturate @ turn, pixels
    )
    return colours.round_().clamp_(0, 255).to(torch.uint8).reshape(image.shape), target


def scale(image: Tensor, target: Target, draw: np.random.Generator) -> tuple[Tensor, Target]:
    """Leave it to the detector's resizing, which is done once, to make the image smaller or larger than usual.

    Returns:
        The image, and its target with the factor as "scale".
    """
    return image, {**target, "scale": float(draw.uniform(*SCALES))}


def crop(image: Tensor, target: Target, draw: np.random.Generator) -> tuple[Tensor, Target]:
    """Cut a part out of an image (3, H, W) that holds the centre of at least one box, if the image has boxes.

    Boxes whose centre is outside are no targets any more. What is still seen of them is ignored: it is neither
    background nor the whole object. All boxes are clipped to the crop.
    """
    boxes, (height, width) = target["boxes"], image.shape[-2:]
    if not len(boxes):
        return image, target
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for _ in range(TRIES):
        new_width, new_height = (max(1, round(side * draw.uniform(*SIDES))) for side in (width, height))
        left, top = int(draw.integers(width - new_width + 1)), int(draw.integers(height - new_height + 1))
        window = torch.tensor([left, top, left + new_width, top + new_height], dtype=boxes.dtype)
        inside = ((centres > window[:2]) & (centres < window[2:])).all(dim=1)
        if inside.any():
            break
    else:
        return image, target
    ignore = _clipped(torch.cat([target["ignore"], boxes[~inside]]), window)
    cropped = {
        **target,
        "boxes": _clipped(boxes[inside], window),
        "labels": target["labels"][inside],
        "ignore": ignore[(ignore[:, 2:] > ignore[:, :2]).all(dim=1)],
    }
    return image[:, top : top + new_height, left : left + new_width].contiguous(), cropped


def _clipped(boxes: Tensor, window: Tensor) -> Tensor:
    """Return boxes (N, 4) in pixels of a window (4,), clipped to it."""
    corners = boxes.reshape(-1, 2, 2)
    return (torch.minimum(torch.maximum(corners, window[:2]), window[2:]) - window[:2]).reshape(-1, 4)


AUGMENTATIONS: Mapping[str, Augment | None] = {
    "none": None, "flip": None, "photometric": photometric, "scale": scale, "crop": crop,
}  # fmt: skip
"""What a preset does to an image before it is mirrored, which all but `none` do to some."""
