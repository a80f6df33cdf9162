"""Records as a COCO dictionary, the ground truth of an evaluation. No torch."""

from __future__ import annotations

from typing import Any

from smoothiou.data.records import Dataset


def to_coco(dataset: Dataset) -> dict[str, Any]:
    """Return a split as COCO's dictionary, with ids from 1 for images and classes in the split's order.

    Difficult and crowd boxes become `iscrowd` = 1, regions in which COCO's engines forgive detections, and
    carry `ignore` = 1 as well. `area` is the box's, for not every format gives a better one.

    Args:
        dataset: a split.
    """
    category_ids = {name: number for number, name in enumerate(dataset.classes, 1)}
    images, annotations = [], []
    for image_id, record in enumerate(dataset.records, 1):
        images.append({"id": image_id, "file_name": record.name, "width": record.width, "height": record.height})
        for box in record.boxes:
            x1, y1, x2, y2 = box.xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[box.label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(box.ignored),
                    "ignore": int(box.ignored),
                }
            )
    return {
        "info": {"description": f"{dataset.name}/{dataset.split}#{dataset.fingerprint}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }
