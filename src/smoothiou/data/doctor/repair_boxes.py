"""Boxes that fit their image again: scaled, put in order, clipped or left out; each change is logged. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from smoothiou.data.doctor.checks_boxes import FAR
from smoothiou.data.doctor.checks_files import is_turned
from smoothiou.data.faults import SMALLEST, fit_box
from smoothiou.data.formats.base import Entry
from smoothiou.data.records import Box

Note = Callable[..., None]
"""Logs (entry, check, change, place=...)."""


def repair_boxes(entry: Entry, note: Note) -> tuple[list[Box], bool, tuple[int, int]]:
    """Return the boxes of an image as they are written, whether its pixels are turned, and its size then."""
    photo = entry.photo
    assert photo is not None
    size, turn, scale = (photo.width, photo.height), False, (1.0, 1.0)
    if entry.annotated is not None and entry.annotated != size:
        before = f"{entry.annotated[0]} x {entry.annotated[1]}"
        if is_turned(entry):
            turn, size = True, (photo.height, photo.width)
            change = f"the picture was turned to {before}, as it was annotated"
        elif _was_resized(entry, size):
            scale = (size[0] / entry.annotated[0], size[1] / entry.annotated[1])
            change = f"boxes scaled by {scale[0]:.4g}, {scale[1]:.4g} from {before}: only so do they fit"
        else:
            change = f"the size {before} became {size[0]} x {size[1]}"
        note(entry, "size-mismatch", change, place=entry.where)
    boxes: list[Box] = []
    for box in entry.boxes:
        repaired = _repaired(box, entry, size=size, scale=scale, note=note)
        if repaired and any(repaired.xyxy == other.xyxy and repaired.label == other.label for other in boxes):
            note(entry, "duplicate-box", f"removed: another {box.label} has its corners", place=box.where)
        elif repaired:
            boxes.append(repaired)
    return boxes, turn, size


def _repaired(box: Box, entry: Entry, *, size: tuple[int, int], scale: tuple[float, float], note: Note) -> Box | None:
    """Return a box that fits its image, or None if nothing of it is left."""
    before = ", ".join(f"{corner:g}" for corner in box.xyxy)
    x1, y1, x2, y2 = (side * scale[axis % 2] for axis, side in enumerate(box.xyxy))
    if (x2 < x1 or y2 < y1) and min(abs(x2 - x1), abs(y2 - y1)) >= SMALLEST:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        note(entry, "inverted-box", f"corners put in order ({before} before)", place=box.where)
    fitted, fault = fit_box(dataclasses.replace(box, xyxy=(x1, y1, x2, y2)), width=size[0], height=size[1])
    if fault and fault.drops:
        check = "no-area" if fault.kind == "no-area" else "outside-image"
        note(entry, check, f"box removed: it {fault.message}", place=box.where)
    elif fault:
        check = "outside-image" if fault.pixels > FAR else "overhang"
        note(entry, check, f"clipped by {fault.pixels:.4g} pixels ({before} before)", place=box.where)
    if fitted and max(x2 - x1, y2 - y1) <= 1.0:
        note(entry, "point-box", f"box removed: {before} is a pixel at most", place=box.where)
        return None
    return fitted


def _was_resized(entry: Entry, size: tuple[int, int]) -> bool:
    """Return whether boxes fit the annotated size and not the file's, which has the same shape."""
    if entry.annotated is None or min(entry.annotated) <= 0:
        return False
    wide, high = (actual / annotated for actual, annotated in zip(size, entry.annotated, strict=True))
    same_shape = abs(wide - high) * max(entry.annotated) <= 2
    return same_shape and not _fits(entry.boxes, size) and _fits(entry.boxes, entry.annotated)


def _fits(boxes: Iterable[Box], size: tuple[int, int]) -> bool:
    return all(
        min(x1, y1) >= -FAR and max(x1, x2) <= size[0] + FAR and max(y1, y2) <= size[1] + FAR
        for x1, y1, x2, y2 in (box.xyxy for box in boxes)
    )
