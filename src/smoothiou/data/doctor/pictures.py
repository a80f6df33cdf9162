"""Small pictures of the worst places of each finding, for a page. No torch."""

from __future__ import annotations

import base64
from typing import Any

from smoothiou.data.doctor.check import EXAMPLES
from smoothiou.data.doctor.decode import small_jpeg
from smoothiou.data.doctor.examine import Report
from smoothiou.data.formats.base import Entry, Example
from smoothiou.data.images import read_image
from smoothiou.data.records import Box
from smoothiou.errors import DataError

MOST_BOXES = 200
"""Boxes drawn in one picture, beside those of the example."""
FARTHEST = 1e6
"""Pixels at which a corner is not drawn."""


def example_pictures(report: Report) -> dict[str, list[dict[str, Any]]]:
    """Return, by the id of a check, pictures of its first examples.

    Each has `title` (the image), `where` (the box, or ""), `message`, `split`, `width` and `height` of the whole
    image, `jpeg` (base64, perhaps ""), `marked` and `others`: corners and label of the example's boxes, and of the
    image's other boxes.

    Args:
        report: of an examination with `pictures=True`.
    """
    pictures: dict[str, list[dict[str, Any]]] = {}
    for finding in report.findings:
        for example in finding.examples[:EXAMPLES]:
            for entry, message in ((example.entry, example.message), (example.other, "the other")):
                if entry is not None and entry.path is not None and entry.size:
                    pictures.setdefault(finding.check.id, []).append(_picture(report, example, entry, message))
    return pictures


def _picture(report: Report, example: Example, entry: Entry, message: str) -> dict[str, Any]:
    width, height = entry.size or (1, 1)
    marked = {box.xyxy for box in example.boxes}
    return {
        "title": entry.name,
        "where": example.where if example.boxes else "",
        "message": message,
        "split": entry.split,
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(_jpeg(report, entry)).decode(),
        "marked": _drawn(example.boxes),
        "others": _drawn([box for box in entry.boxes if box.xyxy not in marked][:MOST_BOXES]),
    }


def _drawn(boxes: tuple[Box, ...] | list[Box]) -> list[list[Any]]:
    near = (box for box in boxes if all(abs(corner) < FARTHEST for corner in box.xyxy))
    return [[*(round(corner, 2) for corner in box.xyxy), box.label] for box in near]


def _jpeg(report: Report, entry: Entry) -> bytes:
    """Return a picture, from the examination unless the image turned out to be an example only after decoding."""
    assert entry.path is not None
    decoded = report.survey.decoded.get(entry.path)
    if decoded is not None and (decoded.picture or decoded.problem):
        return decoded.picture
    try:
        return small_jpeg(read_image(entry.path))
    except DataError:
        return b""
