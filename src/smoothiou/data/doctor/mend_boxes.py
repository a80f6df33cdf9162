"""Boxes that fit their image again: scaled, put in order, clipped or left out; each is logged. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from smoothiou.data.doctor.case import SMALLEST
from smoothiou.data.doctor.changes import Log
from smoothiou.data.doctor.check_boxes import FAR
from smoothiou.data.doctor.check_files import is_turned
from smoothiou.data.doctor.facts import Entry
from smoothiou.data.faults import fit_box
from smoothiou.data.records import Box


def mend_boxes(entry: Entry, names: dict[str, str], log: Log) -> tuple[tuple[Box, ...], bool, tuple[int, int]]:
    """Return the boxes of an image as they are written, whether its pixels are turned, and its size then."""
    shot = entry.photo
    assert shot is not None
    size, turn, scale = (shot.width, shot.height), False, (1.0, 1.0)
    if entry.annotated is not None and entry.annotated != size:
        told = f"{entry.annotated[0]} x {entry.annotated[1]}"
        if is_turned(entry):
            turn, size = True, (shot.height, shot.width)
            log.add(entry, "size-mismatch", f"the picture was turned to {told}, as it was annotated", place=entry.where)
        elif _was_resized(entry, size):
            scale = (size[0] / entry.annotated[0], size[1] / entry.annotated[1])
            change = f"boxes scaled by {scale[0]:.4g}, {scale[1]:.4g} from {told}: only so do they fit"
            log.add(entry, "size-mismatch", change, place=entry.where)
        else:
            log.add(entry, "size-mismatch", f"the size {told} became {size[0]} x {size[1]}", place=entry.where)
    kept: list[Box] = []
    for box in entry.boxes:
        mended = _box(box, entry, size=size, scale=scale, log=log)
        if mended is None:
            continue
        if any(mended.xyxy == other.xyxy and mended.label == other.label for other in kept):
            log.add(entry, "duplicate-box", f"removed: another {box.label} has its corners", place=box.where)
            continue
        kept.append(mended)
    return tuple(dataclasses.replace(box, label=names.get(box.label, box.label)) for box in kept), turn, size


def _box(box: Box, entry: Entry, *, size: tuple[int, int], scale: tuple[float, float], log: Log) -> Box | None:
    """Return a box that fits its image, or None if nothing of it is left."""
    x1, y1, x2, y2 = (side * scale[axis % 2] for axis, side in enumerate(box.xyxy))
    if (x2 < x1 or y2 < y1) and min(abs(x2 - x1), abs(y2 - y1)) >= SMALLEST:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        log.add(entry, "inverted-box", f"corners put in order ({_four(box.xyxy)} before)", place=box.where)
    fitted, fault = fit_box(dataclasses.replace(box, xyxy=(x1, y1, x2, y2)), width=size[0], height=size[1])
    if fitted is None:
        assert fault is not None
        check = "no-area" if fault.kind == "no-area" else "outside-image"
        log.add(entry, check, f"box removed: it {fault.message}", place=box.where)
        return None
    if fault is not None:
        check = "outside-image" if fault.pixels > FAR else "overhang"
        log.add(entry, check, f"clipped by {fault.pixels:.4g} pixels ({_four(box.xyxy)} before)", place=box.where)
    if max(x2 - x1, y2 - y1) <= 1.0:
        log.add(entry, "point-box", f"box removed: {_four(box.xyxy)} is a pixel at most", place=box.where)
        return None
    return fitted


def _was_resized(entry: Entry, size: tuple[int, int]) -> bool:
    """Return whether boxes fit the annotated size and not the file's, which has the same shape."""
    assert entry.annotated is not None
    if min(entry.annotated) <= 0:
        return False
    wide, high = (has / told for has, told in zip(size, entry.annotated, strict=True))
    same_shape = abs(wide - high) * max(entry.annotated) <= 2
    return same_shape and not _fits(entry.boxes, size) and _fits(entry.boxes, entry.annotated)


def _fits(boxes: Iterable[Box], size: tuple[int, int]) -> bool:
    return all(
        min(x1, y1) >= -FAR and max(x1, x2) <= size[0] + FAR and max(y1, y2) <= size[1] + FAR
        for x1, y1, x2, y2 in (box.xyxy for box in boxes)
    )


def _four(corners: Iterable[float]) -> str:
    return ", ".join(f"{corner:g}" for corner in corners)
