"""How long to train on a data set, where no number of steps is set."""

from __future__ import annotations

import math

PER_ROOT = 100
"""Images seen for each square root of the number of training images: 1,600 of 256, ten times as many of 100 times more
images. Pretrained features need few epochs of many images, and many of few."""
ROUNDED_TO = 50


def steps_for(images: int, *, batch_size: int) -> int:
    """Return a number of steps, a multiple of 50.

        steps = max(100 sqrt(images), images) / batch_size

    Args:
        images: of the training split, 1 or more.
        batch_size: images per step.
    """
    seen = max(PER_ROOT * math.sqrt(images), images)
    return ROUNDED_TO * math.ceil(seen / batch_size / ROUNDED_TO)
