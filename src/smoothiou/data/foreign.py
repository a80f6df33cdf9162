"""Annotations of tools whose own files are not read: how to tell them, and what to export instead. No torch."""

from __future__ import annotations

from typing import Any

from smoothiou.errors import DataError

_CVAT = 'These are the annotations of CVAT: export the task as "COCO 1.0" or "PASCAL VOC 1.1".'
_LABEL_STUDIO = 'This is a file of Label Studio: export the project as "COCO" or "Pascal VOC XML".'
FOREIGN_ROOTS = {
    "annotations": _CVAT,
    "view": _LABEL_STUDIO,
    "dataset": "This is a file of dlib's imglab: convert it to PASCAL VOC, one file for each image.",
}
"""What is done about an XML file, by its root."""


class ForeignFileError(DataError):
    """A file is a tool's own; the hint says what to export instead."""


def foreign_json(content: Any) -> str:
    """Return which tool's own JSON this is and what to export instead, or "" if it is no known one's."""
    first = next(iter(content), None) if isinstance(content, list) else None
    if isinstance(first, dict) and "data" in first and {"annotations", "completions", "predictions"} & first.keys():
        return _LABEL_STUDIO
    if isinstance(first, dict) and "image" in first and (isinstance(first.get("label"), list) or "annotator" in first):
        return _LABEL_STUDIO  # its JSON-MIN
    if isinstance(first, dict) and "image" in first and isinstance(first.get("annotations"), list):
        return "This is a file of CreateML: export the data as COCO or PASCAL VOC."
    if not isinstance(content, dict):
        return ""
    if {"items", "categories"} <= content.keys():
        return "This is a file of Datumaro (CVAT): export the task as COCO 1.0."
    if {"shapes", "imagePath"} <= content.keys():
        return "This is a file of LabelMe: convert it with labelme2coco or labelme2voc."
    values = content.get("_via_img_metadata", content)
    first = next(iter(values.values()), None) if isinstance(values, dict) else None
    if isinstance(first, dict) and {"filename", "regions"} <= first.keys():
        return "This is a project of the VGG Image Annotator: export it as COCO."
    return ""
