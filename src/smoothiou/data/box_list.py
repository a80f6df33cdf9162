"""The boxes of an annotation file alone: no image is looked for, and no class matters. No torch."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from smoothiou.data.formats import coco_json
from smoothiou.data.formats.base import Problems
from smoothiou.data.formats.udacity_table import ENDINGS, read_labels
from smoothiou.data.records import Box
from smoothiou.data.registry import load_dataset
from smoothiou.errors import DataError
from smoothiou.files import read_bytes, reason_of, unpack

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class BoxList:
    """Real boxes, for statistics of their shapes and sizes.

    Args:
        name: of the file or folder.
        boxes: corners in pixels, each with an area; crowds are left out, difficult ones are in.
        left_out: number of crowds and of boxes without area.
    """

    name: str
    boxes: tuple[Corners, ...]
    left_out: int


def read_box_list(path: str | Path) -> BoxList:
    """Return all boxes of an annotation file or of the training split of a data set.

    Args:
        path: a COCO file (`.json`, `.json.gz`), a label file of Udacity (`.csv`, `.tsv`, also `.gz`), or what
            `load_dataset` reads: a folder, or `shapes`.

    Raises:
        DataError: the path does not exist, it cannot be read, or no box is left.
    """
    path = Path(os.path.expanduser(path)) if str(path) != "shapes" else Path("shapes")
    endings = "".join(path.suffixes[-2:]).lower()
    if endings.endswith((".json", ".json.gz")):
        boxes = _coco_boxes(path)
    elif endings.endswith(ENDINGS):
        boxes = [box for boxes in read_labels(path).boxes.values() for box in boxes]
    else:
        data = load_dataset(str(path), split="train", allow_dropped=10**9)
        boxes = [box for record in data.records for box in record.boxes]
    usable = tuple(box.xyxy for box in boxes if not box.crowd and _has_area(box.xyxy))
    if not usable:
        raise DataError(f"{path}: none of its {len(boxes)} boxes has an area.")
    return BoxList(path.name, usable, len(boxes) - len(usable))


def _coco_boxes(file: Path) -> list[Box]:
    content = coco_json.require_lists(
        _packed_json(file) if file.suffix.lower() == ".gz" else coco_json.load_json(file), file
    )
    ids = {key: key for key in coco_json.image_ids(content, file)}
    categories = coco_json.read_categories(content, file)
    boxes = coco_json.read_boxes(content, file, images=ids, categories=categories, problems=Problems())
    return [box for image_boxes in boxes.values() for box in image_boxes]


def _packed_json(file: Path) -> object:
    try:
        unpacked = unpack(read_bytes(file, most=coco_json.MAX_BYTES), file, most=coco_json.MAX_BYTES)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read as gzipped JSON: {reason_of(error)}.") from None
    return coco_json.parse_json(unpacked, file)


def _has_area(xyxy: Corners) -> bool:
    x1, y1, x2, y2 = xyxy
    return all(math.isfinite(number) for number in xyxy) and x2 > x1 and y2 > y1
