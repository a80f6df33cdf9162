"""The cases of the DIoU paper's regression experiment: where every box starts, and where it should end.

Seven targets of area 1 stand at the origin (in the paper at (10, 10): only differences matter). Anchors stand
around them at 5,000 points of a disc, each in seven scales and seven aspect ratios:

    7 targets x 7 scales x 7 ratios x 5,000 points = 1,715,000 cases

A box is (x, y, w, h), its centre and sides, and all boxes of a set are one tensor (4, K): every operation then
runs over numbers that lie side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothiou.errors import ConfigError

RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)
"""Width to height, of targets and of anchors."""
SCALES = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
"""Area of an anchor, in areas of its target."""
RADIUS = 3.0
"""Of the disc that anchor centres are drawn from, evenly over its area."""
ALL_POINTS = 5000
PER_POINT = len(RATIOS) * len(SCALES) * len(RATIOS)
ALL_CASES = ALL_POINTS * PER_POINT


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """Where boxes start and where they should end.

    Args:
        points: (P, 2) centres of the anchors, relative to the target's.
        anchors: (4, K) starting boxes, K = 343 P, ordered by target ratio, scale, anchor ratio and point.
        targets: (4, K) their targets.
    """

    points: np.ndarray
    anchors: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.anchors.shape[1]

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """The shape (target ratios, scales, anchor ratios, points) that K numbers, one per case, unfold to."""
        return len(RATIOS), len(SCALES), len(RATIOS), len(self.points)


def points_for(cases: str | int) -> int:
    """Return how many anchor centres a wanted number of cases needs: always 343 cases to a point, rounded up.

    Args:
        cases: `full` for the paper's 1,715,000, or a number.

    Raises:
        ConfigError: neither, or a number below 1 or above 1,715,000.
    """
    if cases == "full":
        return ALL_POINTS
    try:
        number = int(cases)
    except ValueError:
        number = 0
    if not 1 <= number <= ALL_CASES:
        raise ConfigError(f"--cases: expected `full` or a whole number from 1 to {ALL_CASES:,}, got {cases!r}.")
    return math.ceil(number / PER_POINT)


def draw_cases(points: int = ALL_POINTS, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Cases:
    """Return the cases around the first `points` of the 5,000 centres that a seed draws.

    A smaller set is a part of the full one. Centres are drawn as the paper's code does: radius 3 sqrt(U),
    angle 2 pi V, with U and V even in [0, 1).

    Args:
        points: 1 to 5,000; each has 343 cases.
        seed: of the centres.
        dtype: of the boxes.
    """
    uniform = np.random.default_rng(seed).random((ALL_POINTS, 2))[:points]
    radius, angle = RADIUS * np.sqrt(uniform[:, 0]), 2 * np.pi * uniform[:, 1]
    centres = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    ratios, scales = np.array(RATIOS), np.array(SCALES)
    ratio, scale, anchor_ratio = ratios[:, None, None, None], scales[:, None, None], ratios[:, None]
    shape = (len(RATIOS), len(SCALES), len(RATIOS), points)
    # A box of area A and ratio r has the sides sqrt(A r) and sqrt(A / r).
    anchors = (centres[:, 0], centres[:, 1], np.sqrt(scale * anchor_ratio), np.sqrt(scale / anchor_ratio))
    targets = (np.zeros(1), np.zeros(1), np.sqrt(ratio), 1 / np.sqrt(ratio))
    return Cases(points=centres, anchors=_rows(anchors, shape, dtype), targets=_rows(targets, shape, dtype))


def _rows(columns: tuple[np.ndarray, ...], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    rows = torch.empty((4, math.prod(shape)), dtype=dtype)
    for row, column in zip(rows, columns, strict=True):
        row.view(shape).copy_(torch.from_numpy(column).expand(shape))
    return rows
