"""Detections as one array, checked in bulk: what takes a second by half a million entries takes a tenth of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

import numpy as np

LARGEST = 2**53
"""Ids below it are exact as float64, which an array of everything has to be."""
_FIELDS = ("image_id", "category_id", "score", "bbox")


def as_rows(predictions: Sequence[Any], *, images: Collection[int], categories: Collection[int]) -> np.ndarray | None:
    """Return detections as rows, or None where any of them is not as plain as nearly all are.

    None says nothing against them: other types of numbers and of lists are as good, but are looked at one by one, and
    so is what is wrong, for a message that names it.

    Args:
        predictions: in COCO's results format.
        images: the ids that the truth has.
        categories: the ids that the truth has.

    Returns:
        (N, 7) float64: image id, x, y, width, height, score, category id.
    """
    if not predictions or set(map(type, predictions)) != {dict}:
        return None
    try:
        image_ids, category_ids, scores, boxes = ([entry[key] for entry in predictions] for key in _FIELDS)
    except KeyError:
        return None
    if not (_types(image_ids) == _types(category_ids) == {int} and _types(scores) <= {int, float}):
        return None
    if not (set(image_ids) <= set(images) and set(category_ids) <= set(categories)):
        return None
    if not (_types(boxes) <= {list, tuple} and set(map(len, boxes)) == {4}):
        return None
    numbers = list(chain.from_iterable(boxes))
    if not _types(numbers) <= {int, float} or max(image_ids) >= LARGEST or max(category_ids) >= LARGEST:
        return None
    try:
        corners = np.array(numbers, dtype=np.float64).reshape(-1, 4)
        rows = np.column_stack((image_ids, corners, scores, category_ids))
    except OverflowError:
        return None
    if rows.dtype != np.float64 or not np.isfinite(rows).all() or (corners[:, 2:] < 0).any():
        return None
    return rows


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))
