"""How much boxes overlap, and the check that they are boxes: what every measure of this room stands on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothiou.errors import DataError

Array = NDArray[np.float64]


def box_iou(a: ArrayLike, b: ArrayLike) -> Array:
    """Return the IoU of every box of `a` with every box of `b`; 0 where both have no area.

    Args:
        a: (N, 4) boxes x1, y1, x2, y2.
        b: (M, 4) boxes.

    Returns:
        (N, M), 0 to 1.
    """
    return aligned_iou(as_boxes(a, "a")[:, None], as_boxes(b, "b")[None, :])


def aligned_iou(first: Array, second: Array) -> Array:
    """Return the IoU of boxes pair by pair, over the last axis of two arrays that broadcast; 0 where there is no area.

    Args:
        first: (..., 4) boxes x1, y1, x2, y2.
        second: (..., 4) boxes.
    """
    corner = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    intersection = np.prod(np.maximum(corner, 0), axis=-1)
    union = _area(first) + _area(second) - intersection
    return np.minimum(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0), 1)


def _area(boxes: Array) -> Array:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def as_boxes(values: ArrayLike, where: str) -> Array:
    """Return boxes as an array (N, 4); nothing becomes (0, 4).

    Args:
        values: N rows of x1, y1, x2, y2.
        where: what they are, for the message.

    Raises:
        DataError: another shape, or a number that is not finite; names the box.
    """
    boxes = np.asarray(values, dtype=np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{where}: expected boxes of shape (N, 4), got {boxes.shape}.")
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise DataError(f"{where}: box {row} is not finite: {boxes[row].tolist()}.")
    return boxes
