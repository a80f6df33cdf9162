"""Small pictures of the worst places of each finding, for a page. No torch."""

from __future__ import annotations

import base64
from typing import Any

from PIL import Image

from smoothiou.data.doctor.examine import Report
from smoothiou.data.doctor.facts import Entry
from smoothiou.data.doctor.findings import SHOWN
from smoothiou.data.doctor.photos import small_jpeg
from smoothiou.data.images import read_image
from smoothiou.data.records import Box
from smoothiou.errors import DataError

MOST_BOXES = 200
"""Boxes drawn in one picture, beside those meant."""


FARTHEST = 1e6
"""Pixels at which a corner is not drawn."""


def pictures(report: Report) -> dict[str, list[dict[str, Any]]]:
    """Return, by the id of a check, pictures of its first examples.

    Each has `title` (the image), `where` (the box, or ""), `words`, `split`, `width` and `height` of the whole image,
    `jpeg` (base64, perhaps ""), `marked` and `others`: corners and label of the boxes that are meant, and of the
    image's other boxes.

    Pictures were kept when the images were decoded; only those of look-alikes, which are known after it, and of images
    that could not be judged in time are decoded for this.

    Args:
        report: of an examination with `pictures=True`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report.findings:
        shown: list[dict[str, Any]] = []
        for example in finding.examples[:SHOWN]:
            for entry, words in ((example.entry, example.message), (example.other, "the other")):
                if entry is not None and entry.path is not None and entry.size:
                    where = example.where if example.boxes else ""
                    shown.append(_picture(report, entry, where, words, example.boxes))
        if shown:
            found[finding.check.id] = shown
    return found


def _picture(report: Report, entry: Entry, where: str, words: str, marked: tuple[Box, ...]) -> dict[str, Any]:
    width, height = entry.size or (1, 1)
    meant = {box.xyxy for box in marked}
    others = [box for box in entry.boxes if box.xyxy not in meant][:MOST_BOXES]
    return {
        "title": entry.name,
        "where": where,
        "words": words,
        "split": entry.split,
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(_pixels(report, entry)).decode(),
        "marked": [_drawn(box) for box in marked if _has_place(box)],
        "others": [_drawn(box) for box in others if _has_place(box)],
    }


def _has_place(box: Box) -> bool:
    return all(abs(corner) < FARTHEST for corner in box.xyxy)


def _drawn(box: Box) -> list[Any]:
    return [*(round(corner, 2) for corner in box.xyxy), box.label]


def _pixels(report: Report, entry: Entry) -> bytes:
    assert entry.path is not None
    look = report.case.looks.get(entry.path)
    if look is not None and (look.picture or look.problem):
        return look.picture
    try:
        pixels: Image.Image = read_image(entry.path)
    except DataError:
        return b""
    return small_jpeg(pixels)
