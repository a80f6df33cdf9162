"""The cases of the DIoU paper's regression experiment: anchors of 7 areas and 7 shapes around targets of 7 shapes.

    7 target shapes x 7 areas x 7 shapes = 343 cases for each anchor centre

The paper draws 5,000 centres at random (1,715,000 cases). Here they are spread evenly, so that few stand for many.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothiou.errors import ConfigError

RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)
"""Width / height of targets and of anchors."""
AREAS = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
"""Area of an anchor / area of its target."""
RADIUS = 3.0
"""Radius of the disc of anchor centres, in sides of a square target."""
CASES_PER_CENTRE = len(RATIOS) * len(AREAS) * len(RATIOS)
PAPER_CASES = 5000 * CASES_PER_CENTRE
DEFAULT_CASES = 40 * CASES_PER_CENTRE


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """Pairs of boxes (cx, cy, w, h): where a box starts, and its target of area 1 at the origin.

    Args:
        anchors: (N, 4).
        targets: (N, 4).
    """

    anchors: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.anchors)


def centres_for(cases: int) -> int:
    """Return how many anchor centres give at least so many cases.

    Raises:
        ConfigError: not between 1 and 1,715,000.
    """
    if not 1 <= cases <= PAPER_CASES:
        raise ConfigError(f"--cases: expected 1 to {PAPER_CASES:,}, got {cases:,}.")
    return math.ceil(cases / CASES_PER_CENTRE)


def make_cases(centres: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Cases:
    """Return the cases around centres that lie like the seeds of a sunflower: evenly over the area of the disc.

    Args:
        centres: number of anchor centres; each has 343 cases.
        seed: turns the pattern of centres by a random angle.
        dtype: of the boxes.
    """
    index = np.arange(centres)
    radius = RADIUS * np.sqrt((index + 0.5) / centres)
    angle = index * math.pi * (3 - math.sqrt(5)) + np.random.default_rng(seed).uniform(0, 2 * math.pi)
    points = zip(radius * np.cos(angle), radius * np.sin(angle), strict=True)
    # A box of area A and ratio r = w / h has the sides sqrt(A r) and sqrt(A / r).
    rows = [
        (x, y, math.sqrt(area * ratio), math.sqrt(area / ratio), 0, 0, math.sqrt(target), 1 / math.sqrt(target))
        for (x, y), target, area, ratio in itertools.product(points, RATIOS, AREAS, RATIOS)
    ]
    anchors, targets = torch.tensor(rows, dtype=dtype).split(4, dim=1)
    return Cases(anchors=anchors, targets=targets)
