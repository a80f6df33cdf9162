"""What happens to boxes that do not fit their image, and to images that are missing. No torch.

A box is never dropped unasked: without area, or with more than half of it outside its image, it stops the reading
until the user allows it. A box that overhangs its image by less is clipped, and counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from smoothiou.data.records import Box, Dataset, Fault
from smoothiou.errors import DataError
from smoothiou.words import counted

SMALLEST = 0.01
"""Pixels. A side shorter than this is no side, and an overhang smaller than this is rounding of decimals."""

FAR = 0.5
"""A box with a smaller share of its area inside its image belongs to another image, or its corners are mixed up."""


def fit_box(box: Box, *, width: int, height: int) -> tuple[Box | None, Fault | None]:
    """Return the box clipped to its image, or None if nothing of it is left, and what was wrong with it.

    Args:
        box: with corners as annotated, 0-based with an open end, in pixels.
        width, height: of the image.
    """
    corners, image = describe_corners(box), f"its image of {width} x {height} pixels"
    x1, y1, x2, y2 = box.xyxy

    def drop(kind: str, message: str) -> tuple[None, Fault]:
        return None, Fault(kind=kind, where=box.where, message=f"{message} ({corners})", drops=True)

    if not all(map(math.isfinite, box.xyxy)):
        return drop("no-area", "has no finite corners")
    if x2 - x1 < SMALLEST or y2 - y1 < SMALLEST:
        return drop("no-area", "has no area")
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if inside[2] - inside[0] < SMALLEST or inside[3] - inside[1] < SMALLEST:
        return drop("outside", f"lies outside {image}")
    area, area_inside = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box.xyxy, inside))
    if area_inside < FAR * area:
        return drop("outside", f"lies more than half outside {image}")
    overhang = max(abs(after - before) for after, before in zip(inside, box.xyxy, strict=True))
    fault = None
    if overhang > SMALLEST:
        message = f"leaves {image} by {overhang:.4g} pixels and was clipped"
        fault = Fault(kind="overhang", where=box.where, message=message, pixels=overhang)
    return dataclasses.replace(box, xyxy=inside), fault


def describe_corners(box: Box) -> str:
    """Return `x 3 to 9, y 4 to 8`."""
    x1, y1, x2, y2 = box.xyxy
    return f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"


def fit_boxes(boxes: Sequence[Box], *, width: int, height: int) -> tuple[tuple[Box, ...], list[Fault]]:
    """Return the boxes that fit their image, clipped, and the faults of all."""
    fitted = [fit_box(box, width=width, height=height) for box in boxes]
    return tuple(box for box, _ in fitted if box), [fault for _, fault in fitted if fault]


def size_fault(where: str, *, annotated: tuple[int, int] | None, actual: tuple[int, int]) -> list[Fault]:
    """Return a fault if the annotation gives another image size than the file, whose size wins."""
    if annotated is None or annotated == actual:
        return []
    one, other = (f"{width} x {height}" for width, height in (annotated, actual))
    return [Fault(kind="size-mismatch", where=where, message=f"says {one} pixels, but the image file has {other}")]


def refuse_dropped(faults: Sequence[Fault], *, allow_dropped: int, data: str) -> None:
    """Stop if more boxes would be lost than the user allowed.

    Raises:
        DataError: with the count, the first three places and the way out.
    """
    lost = [fault for fault in faults if fault.kind in ("no-area", "outside")]
    if len(lost) <= allow_dropped:
        return
    first = "; ".join(f"{fault.where} {fault.message}" for fault in lost[:3])
    more = f"; and {len(lost) - 3} more" if len(lost) > 3 else ""
    boxes, them = counted(len(lost), "box", "boxes"), "it" if len(lost) == 1 else "them"
    raise DataError(
        f"{data}: {boxes} without area or outside the image: {first}{more}.",
        hint=f"Fix the file, or pass --allow-dropped {len(lost)} to train without {them}.",
    )


def refuse_missing_images(names: Sequence[str], *, data: str, looked_in: str) -> None:
    """Stop if images that annotations name are missing.

    Raises:
        DataError: with the count, the first three names and where they were looked for.
    """
    if names:
        count = counted(len(names), "annotated image is", "annotated images are")
        raise DataError(
            f"{data}: {count} missing: {first_names(names)} (looked in {looked_in}).",
            hint="Add them, remove their annotations, or name the usable ones in a list of the split.",
        )


def refuse_repeated(photos: Mapping[str, Sequence[str]], *, data: str) -> None:
    """Stop if several annotations are of one photo, which would be learnt twice, each time with a part of its boxes.

    Args:
        photos: the annotations of each image file.
        data: the data set, for messages.

    Raises:
        DataError: with the count, and all annotations of the first such photo.
    """
    several = {photo: list(where) for photo, where in photos.items() if len(where) > 1}
    if several:
        photo, where = next(iter(several.items()))
        count = counted(len(several), "photo has", "photos have")
        raise DataError(
            f"{data}: {count} several annotations: {first_names(where)} are of {photo}.",
            hint="Make one of them, with all boxes; smoothiou doctor DATA --fix OUT does.",
        )


def refuse_nothing_left(dataset: Dataset) -> None:
    """Stop if a split has boxes, and none that is a target: nothing can be learnt from it or measured on it.

    Raises:
        DataError: all boxes are difficult, crowds, or were dropped.
    """
    boxes = [box for record in dataset.records for box in record.boxes]
    dropped = sum(fault.drops for fault in dataset.faults if fault.kind in ("no-area", "outside"))
    if not (boxes or dropped) or not all(box.ignored for box in boxes):
        return
    difficult, crowd = sum(box.difficult for box in boxes), sum(box.crowd for box in boxes)
    raise DataError(
        f'{dataset.name}: the split "{dataset.split}" has no box that is a target: of {len(boxes) + dropped}, '
        f"{difficult} are difficult or to be ignored, {crowd} crowds, and {dropped} were dropped.",
        hint="Correct the flags, or choose another split.",
    )


def is_too_long(width: int, height: int, *, max_size: int) -> bool:
    """Return whether less than two pixels are left of an image's short side where the long one becomes `max_size`."""
    return min(width, height) * max_size < 2 * max(width, height)


def refuse_long(*datasets: Dataset | None, max_size: int) -> None:
    """Stop if a split has images that no detector can take at its resolution.

    Args:
        datasets: the splits that are used.
        max_size: pixels of the long side after resizing.

    Raises:
        DataError: with the first images, each with its size.
    """
    records = (record for dataset in datasets if dataset is not None for record in dataset.records)
    long = [f"{r.name} ({r.width} x {r.height})" for r in records if is_too_long(r.width, r.height, max_size=max_size)]
    if long:
        count = counted(len(long), "image is", "images are")
        raise DataError(
            f"{count} so long that the short side vanishes when the long side becomes {max_size}: {first_names(long)}.",
            hint="Crop them, leave them out, or raise --model.max_size.",
        )


def first_names(names: Sequence[str]) -> str:
    """Return `a, b, c and 4 more`."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
