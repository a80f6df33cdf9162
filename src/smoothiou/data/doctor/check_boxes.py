"""Checks of single boxes. No torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smoothiou.data.doctor.case import SMALLEST, Boxes, Case
from smoothiou.data.doctor.facts import Entry, Example
from smoothiou.data.records import Box

FAR = 1.0
"""Pixels beyond the image; less is the rounding of an exporter."""
TINY = 4.0
"""Pixels of a side at training resolution; a quarter of a cell of a stride of 16."""
THIN = 10.0
"""Long side / short side."""


def no_area(case: Case) -> list[Example]:
    """Boxes without width or height, or without finite corners."""
    boxes = case.boxes
    with np.errstate(invalid="ignore"):
        flat = ~boxes.usable & ~_inverted(boxes)
    return _examples(boxes, flat, np.zeros(len(flat)), lambda box, entry: f"has no area ({_corners(box)})")


def inverted_box(case: Case) -> list[Example]:
    """Boxes whose right edge is left of the left one, or whose bottom is above the top."""
    boxes = case.boxes
    wrong = _inverted(boxes)
    depth = boxes.sides.min(axis=1) if len(wrong) else np.zeros(0)
    return _examples(boxes, wrong, depth, lambda box, entry: f"has its corners in the wrong order ({_corners(box)})")


def outside_image(case: Case) -> list[Example]:
    """Boxes that leave their image by more than a pixel; the furthest first."""
    boxes, over = case.boxes, overhang_of(case.boxes)
    return _examples(boxes, boxes.usable & (over > FAR), -over, _leaves)


def overhang(case: Case) -> list[Example]:
    """Boxes that leave their image by a pixel at most."""
    boxes, over = case.boxes, overhang_of(case.boxes)
    return _examples(boxes, boxes.usable & (over > SMALLEST) & (over <= FAR), -over, _leaves)


def point_box(case: Case) -> list[Example]:
    """Boxes that are at most one pixel wide and high: a click, not a box."""
    boxes = case.boxes
    longest = boxes.sides.max(axis=1, initial=0.0)
    point = boxes.usable & (longest <= 1.0)
    return _examples(boxes, point, longest, lambda box, entry: f"is {_sides(box)} pixels ({_corners(box)})")


def tiny_box(case: Case) -> list[Example]:
    """Boxes of which a side is shorter than `TINY` pixels at training resolution; the smallest first."""
    boxes = case.boxes
    scale = case.scales(boxes.size) if len(boxes.owner) else np.zeros(0)
    shortest = boxes.sides.min(axis=1, initial=np.inf) * scale
    tiny = boxes.usable & (shortest < TINY) & ~_ignored(boxes)
    at = dict(zip(map(id, (box for _, box in boxes.owner)), scale, strict=True))
    return _examples(
        boxes, tiny, shortest, lambda box, entry: f"is {_sides(box)} pixels, {_sides(box, at[id(box)])} when trained"
    )


def duplicate_box(case: Case) -> list[Example]:
    """Boxes with class and corners of an earlier one of the same image."""
    found = []
    for entry in case.entries:
        seen: dict[tuple, str] = {}
        for box in entry.boxes:
            first = seen.setdefault((box.label, box.xyxy), box.where)
            if first != box.where:
                message = f"is the same as {_short(first, box.where)} ({box.label})"
                found.append(Example(where=box.where, message=message, entry=entry, boxes=(box,)))
    return found


def extreme_ratio(case: Case) -> list[Example]:
    """Boxes that are `THIN` times as long as wide, or more; the thinnest first."""
    boxes = case.boxes
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = boxes.sides.max(axis=1, initial=0.0) / boxes.sides.min(axis=1, initial=np.inf)
    thin = boxes.usable & (ratio >= THIN) & ~_ignored(boxes)
    return _examples(boxes, thin, -ratio, lambda box, entry: f"is {_sides(box)} pixels")


def overhang_of(boxes: Boxes) -> np.ndarray:
    """Return by how many pixels each box leaves its image at most (N,)."""
    if not len(boxes.owner):
        return np.zeros(0)
    return np.maximum((-boxes.xyxy[:, :2]).max(axis=1), (boxes.xyxy[:, 2:] - boxes.size).max(axis=1))


def _inverted(boxes: Boxes) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        wide = (np.abs(boxes.sides) >= SMALLEST).all(axis=1)
        backwards = (boxes.sides < 0).any(axis=1)
        return np.logical_and.reduce([np.isfinite(boxes.xyxy).all(axis=1), wide, backwards])


def _ignored(boxes: Boxes) -> np.ndarray:
    return np.array([box.ignored for _, box in boxes.owner], dtype=bool)


def _examples(boxes: Boxes, wrong: np.ndarray, order: np.ndarray, words: Callable[[Box, Entry], str]) -> list[Example]:
    """Return the boxes that are wrong, sorted by `order`, each with its words."""
    (found,) = np.nonzero(wrong)
    found = found[np.argsort(order[found], kind="stable")]
    return [
        Example(where=box.where or entry.where, message=words(box, entry), entry=entry, boxes=(box,))
        for entry, box in (boxes.owner[number] for number in found)
    ]


def _leaves(box: Box, entry: Entry) -> str:
    width, height = entry.size or (0, 0)
    x1, y1, x2, y2 = box.xyxy
    by = max(-x1, -y1, x2 - width, y2 - height)
    gone = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
    how = "lies outside its image" if gone else f"leaves its image by {by:.3g} pixels"
    return f"{how} of {width} x {height} ({_corners(box)})"


def _corners(box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    return f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"


def _sides(box: Box, scale: float = 1.0) -> str:
    x1, y1, x2, y2 = box.xyxy
    return f"{(x2 - x1) * scale:.3g} x {(y2 - y1) * scale:.3g}"


def _short(first: str, place: str) -> str:
    """Return a place without the file's name where both have the same."""
    file, _, rest = first.rpartition(": ")
    return rest if file and place.startswith(file) else first
