"""Checks of single boxes. No torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smoothiou.data.doctor.check import Checks
from smoothiou.data.doctor.survey import BoxTable, Survey
from smoothiou.data.faults import SMALLEST, describe_corners
from smoothiou.data.formats.base import Entry, Example
from smoothiou.data.records import Box

FAR = 1.0
"""Pixels beyond the image; less is the rounding of an exporter."""
TINY = 4.0
"""Pixels of a side at training resolution; a quarter of a cell of a stride of 16."""
THIN = 10.0
"""Long side / short side."""
CHECKS = Checks()


@CHECKS.add("error", mends="leaves the box out", quick=True)
def no_area(data: Survey) -> list[Example]:
    """A box has no width, no height or no finite corners; its loss would be NaN.

    Fix: Draw it again, or pass --allow-dropped to train without it.
    """
    flat = ~data.boxes.usable & ~_inverted(data.boxes)
    return _examples(data.boxes, flat, np.zeros(len(flat)), lambda box, _: f"has no area ({describe_corners(box)})")


@CHECKS.add("error", mends="puts the corners in order", quick=True)
def inverted_box(data: Survey) -> list[Example]:
    """A box ends before it begins: its corners, or the columns of its file, are mixed up.

    Fix: Exchange the corners.
    """
    depth = data.boxes.sides.min(axis=1, initial=np.inf)
    text = "has its corners in the wrong order"
    return _examples(data.boxes, _inverted(data.boxes), depth, lambda box, _: f"{text} ({describe_corners(box)})")


@CHECKS.add("error", mends="clips the box; leaves it out if more than half of it is outside", quick=True)
def outside_image(data: Survey) -> list[Example]:
    """A box leaves its image by more than a pixel: readers clip it, or drop it if half of it is outside.

    Fix: Draw it again; if there are many, the image was resized and the boxes were not.
    """
    over = _overhang(data.boxes)
    return _examples(data.boxes, data.boxes.usable & (over > FAR), -over, _leaves)


@CHECKS.add("warning", mends="clips the box", quick=True)
def overhang(data: Survey) -> list[Example]:
    """A box leaves its image by at most a pixel, as exporters that round make it; readers clip it.

    Fix: Nothing need be done.
    """
    over = _overhang(data.boxes)
    return _examples(data.boxes, data.boxes.usable & (over > SMALLEST) & (over <= FAR), -over, _leaves)


@CHECKS.add("warning", mends="leaves the box out", quick=True)
def point_box(data: Survey) -> list[Example]:
    """A box is a pixel wide and high at most: a click by mistake.

    Fix: Remove it, or draw it.
    """
    longest = data.boxes.sides.max(axis=1, initial=0.0)
    point = data.boxes.usable & (longest <= 1.0)
    return _examples(data.boxes, point, longest, lambda box, _: f"is {_sides(box)} pixels ({describe_corners(box)})")


@CHECKS.add("warning", quick=True)
def tiny_box(data: Survey) -> list[Example]:
    """A side of a box is shorter than 4 pixels at training resolution, a quarter of a cell of the features.

    Fix: Train at a higher resolution (--model.min_size, --model.max_size), or do without these boxes.
    """
    boxes = data.boxes
    scale = data.scales(boxes.image_size) if len(boxes.owners) else np.zeros(0)
    shortest = boxes.sides.min(axis=1, initial=np.inf) * scale
    scale_of = dict(zip(map(id, (box for _, box in boxes.owners)), scale, strict=True))
    tiny = boxes.usable & (shortest < TINY) & ~boxes.ignored
    return _examples(
        boxes, tiny, shortest, lambda box, _: f"is {_sides(box)} pixels, {_sides(box, scale_of[id(box)])} when trained"
    )


@CHECKS.add("warning", mends="removes all but one", quick=True)
def duplicate_box(data: Survey) -> list[Example]:
    """A box has class and corners of another of the same image: one of two detections would count as missing.

    Fix: Remove one of them.
    """
    examples = []
    for entry in data.entries:
        seen: dict[tuple, str] = {}
        for box in entry.boxes:
            first = seen.setdefault((box.label, box.xyxy), box.where)
            if first != box.where:
                file, _, rest = first.rpartition(": ")
                same = rest if file and box.where.startswith(file) else first
                message = f"is the same as {same} ({box.label})"
                examples.append(Example(where=box.where, message=message, entry=entry, boxes=(box,)))
    return examples


@CHECKS.add("warning", quick=True)
def extreme_ratio(data: Survey) -> list[Example]:
    """A box is ten times as long as wide, or more, as no anchor is.

    Fix: Look whether it is meant; for many such boxes a detector needs anchors of other ratios.
    """
    boxes = data.boxes
    ratio = boxes.sides.max(axis=1, initial=0.0) / boxes.sides.min(axis=1, initial=np.inf)
    thin = boxes.usable & (ratio >= THIN) & ~boxes.ignored
    return _examples(boxes, thin, -ratio, lambda box, _: f"is {_sides(box)} pixels")


def _overhang(boxes: BoxTable) -> np.ndarray:
    """Return by how many pixels each box leaves its image at most (N,)."""
    beyond = np.concatenate([-boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.image_size], axis=1)
    return np.asarray(beyond.max(axis=1, initial=-np.inf))


def _inverted(boxes: BoxTable) -> np.ndarray:
    finite, wide = np.isfinite(boxes.xyxy).all(axis=1), (np.abs(boxes.sides) >= SMALLEST).all(axis=1)
    return np.logical_and.reduce([finite, wide, (boxes.sides < 0).any(axis=1)])


def _examples(
    boxes: BoxTable, wrong: np.ndarray, order: np.ndarray, message: Callable[[Box, Entry], str]
) -> list[Example]:
    """Return the boxes that are wrong, sorted by `order`, each with its message."""
    (indices,) = np.nonzero(wrong)
    owners = (boxes.owners[index] for index in indices[np.argsort(order[indices], kind="stable")])
    return [
        Example(where=box.where or entry.where, message=message(box, entry), entry=entry, boxes=(box,))
        for entry, box in owners
    ]


def _leaves(box: Box, entry: Entry) -> str:
    width, height = entry.size or (0, 0)
    x1, y1, x2, y2 = box.xyxy
    by = max(-x1, -y1, x2 - width, y2 - height)
    gone = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
    how = "lies outside its image" if gone else f"leaves its image by {by:.3g} pixels"
    return f"{how} of {width} x {height} ({describe_corners(box)})"


def _sides(box: Box, scale: float = 1.0) -> str:
    x1, y1, x2, y2 = box.xyxy
    return f"{(x2 - x1) * scale:.3g} x {(y2 - y1) * scale:.3g}"
