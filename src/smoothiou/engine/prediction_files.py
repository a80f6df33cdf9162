"""Predictions as files that other tools read: COCO's JSON, CSV, label files of YOLO and VOC. No torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from smoothiou.files import write_json, write_text

FORMATS = ("yolo", "voc")
COLUMNS = ("image", "label", "score", "x1", "y1", "x2", "y2")


def write_predictions(
    out: Path, images: Sequence[Mapping[str, Any]], classes: Sequence[str], formats: Sequence[str] = ()
) -> None:
    """Write predictions.json (COCO, with scores) and predictions.csv, and label files in further formats.

    Args:
        out: folder.
        images: {"image", "name", "width", "height", "boxes": [{"xyxy", "label", "score"}]} each; `name` is unique.
        classes: names.
        formats: of `FORMATS`.
    """
    write_json(out / "predictions.json", as_coco(images, classes))
    write_text(out / "predictions.csv", _as_csv(images))
    if "yolo" in formats:
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))
        for image in images:
            write_text(out / "labels" / f"{image['name']}.txt", _as_yolo(image, classes))
    if "voc" in formats:
        for image in images:
            write_text(out / "Annotations" / f"{image['name']}.xml", _as_voc(image))


def as_coco(images: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return COCO's dictionary, whose annotations have a score."""
    ids = {name: number for number, name in enumerate(classes, 1)}
    annotations = []
    for number, image in enumerate(images, 1):
        for box in image["boxes"]:
            x1, y1, x2, y2 = box["xyxy"]
            bbox = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[box["label"]], "bbox": bbox}
            annotations.append({**entry, "area": round(bbox[2] * bbox[3], 2), "iscrowd": 0, "score": box["score"]})
    return {
        "images": [
            {"id": number, "file_name": image["image"], "width": image["width"], "height": image["height"]}
            for number, image in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }


def _as_csv(images: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in images:
        writer.writerows([image["image"], box["label"], box["score"], *box["xyxy"]] for box in image["boxes"])
    return buffer.getvalue()


def _as_yolo(image: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return `class x y width height` a line, in shares of the image's sides."""
    rows = []
    for box in image["boxes"]:
        x1, y1, x2, y2 = box["xyxy"]
        width, height = image["width"], image["height"]
        normalized = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        rows.append(f"{list(classes).index(box['label'])} " + " ".join(f"{number:.6f}" for number in normalized) + "\n")
    return "".join(rows)


def _as_voc(image: Mapping[str, Any]) -> str:
    """Return VOC's XML, whose corners count from 1 and are inclusive."""
    objects = []
    for box in image["boxes"]:
        x1, y1, x2, y2 = box["xyxy"]
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        tags = "".join(f"<{tag}>{value:.2f}</{tag}>" for tag, value in corners.items())
        objects.append(
            f"  <object><name>{escape(box['label'])}</name><difficult>0</difficult><bndbox>{tags}</bndbox></object>\n"
        )
    size = f"<width>{image['width']}</width><height>{image['height']}</height><depth>3</depth>"
    name = escape(Path(image["image"]).name)
    return f"<annotation>\n  <filename>{name}</filename>\n  <size>{size}</size>\n{''.join(objects)}</annotation>\n"
