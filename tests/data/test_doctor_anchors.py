"""The best anchor of each box against all anchors of the grid, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from smoothiou.data.doctor.checks_training import best_iou
from smoothiou.detectors.registry import DETECTORS

WIDTH, HEIGHT = 320, 192


def grid(level) -> np.ndarray:
    """Return all anchors of a feature map as corners (N, 4)."""
    x, y = (np.arange(math.ceil(side / level.stride)) * level.stride for side in (WIDTH, HEIGHT))
    centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
    half = np.array(level.sides) / 2
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others)]
    return inter / (areas[0][:, None] + areas[1] - inter)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_the_best_anchor_is_the_best_of_the_grid(name):
    random = np.random.default_rng(0)
    corner = random.uniform((0, 0), (WIDTH - 60, HEIGHT - 60), (200, 2))
    boxes = np.concatenate([corner, corner + random.uniform(4, 60, (200, 2))], axis=1)
    boxes[:3] = [(0, 0, 320, 192), (300, 2, 320, 190), (3, 3, 6, 6)]
    anchors = DETECTORS[name].anchors
    best = best_iou(boxes, np.tile([float(WIDTH), HEIGHT], (200, 1)), anchors)
    expected = np.max([iou(boxes, grid(level)).max(axis=1) for level in anchors], axis=0)
    np.testing.assert_allclose(best, expected, atol=1e-9)
