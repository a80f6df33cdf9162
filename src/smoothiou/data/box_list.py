"""The boxes of an annotation file alone: no image is looked for, and no class matters. No torch."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.data import coco_file, udacity_file
from smoothiou.data.records import Box
from smoothiou.data.registry import load_dataset
from smoothiou.errors import DataError
from smoothiou.files import read_bytes, unpack

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class BoxList:
    """Real boxes, for what needs their shapes and sizes and nothing else.

    Args:
        name: of the file or folder.
        boxes: corners in pixels, each with an area; crowds are left out, difficult ones are in.
        left_out: how many had no area, and how many were crowds.
    """

    name: str
    boxes: tuple[Corners, ...]
    left_out: int


def read_box_list(path: str | Path) -> BoxList:
    """Return all boxes of an annotation file or of the training split of a data set.

    Args:
        path: a COCO file (`.json`, `.json.gz`), a label file of Udacity (`.csv`, `.csv.gz`), or what `load_dataset`
            reads: a folder, or `shapes`.

    Raises:
        DataError: nothing is there, it cannot be read, or no box is left.
    """
    path = Path(os.path.expanduser(path)) if str(path) != "shapes" else Path("shapes")
    endings = "".join(path.suffixes[-2:]).lower()
    if endings.endswith((".json", ".json.gz")):
        found = _coco(path)
    elif endings.endswith((".csv", ".csv.gz")):
        found = [box for boxes in udacity_file.read_labels(path).boxes.values() for box in boxes]
    else:
        data = load_dataset(str(path), split="train", allow_dropped=10**9)
        found = [box for record in data.records for box in record.boxes]
    kept = tuple(box.xyxy for box in found if not box.crowd and _has_area(box.xyxy))
    if not kept:
        raise DataError(f"{path}: none of its {len(found)} boxes has an area.")
    return BoxList(path.name, kept, len(found) - len(kept))


def _coco(file: Path) -> list[Box]:
    content = _content(file)
    images = coco_file.image_ids(content, file)
    boxes = coco_file.read_boxes(content, file, images=images, categories=coco_file.read_categories(content, file))
    return [box for image_boxes in boxes.values() for box in image_boxes]


def _content(file: Path) -> dict[str, Any]:
    if file.suffix.lower() != ".gz":
        return coco_file.read_json(file)
    try:
        unpacked = unpack(read_bytes(file, most=coco_file.MAX_BYTES), file, most=coco_file.MAX_BYTES)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: cannot be read as gzipped JSON: {reason}.") from None
    content = coco_file.parse_json(unpacked, file)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f'{file}: expected an object with a list "{key}".')
    return content


def _has_area(xyxy: Corners) -> bool:
    x1, y1, x2, y2 = xyxy
    return all(math.isfinite(number) for number in xyxy) and x2 > x1 and y2 > y1
