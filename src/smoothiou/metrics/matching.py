"""COCO's matching of detections with ground truth, for all images at once.

`hotcoco` matches as well, but gives its matches as Python lists, which takes 4 ms an image; this takes 0.2 ms.
Matching does not depend on which images are drawn, so a bootstrap does it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
IOU_50, IOU_75 = 0, 5
"""Indices of these two in `THRESHOLDS`."""
MAX_DETECTIONS = 100
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
IMAGE, BOX, SIZE, SCORE, CATEGORY = 0, slice(1, 5), slice(3, 5), 5, 6
"""Columns of `detection_rows`; `SIZE` is width and height."""
_CHUNK = 1_000_000
"""Most pairs of a detection and a ground-truth box that are held at a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matches:
    """The detections of one class, highest score first; equal scores in the order of the images.

    Args:
        image: (D,) index of the image, of all images in the order of their ids.
        rank: (D,) rank among the detections of its image and class, 0 the highest score.
        score: (D,) confidence.
        true: (T, D) whether it matches a ground-truth box, at each of `THRESHOLDS`.
        ignored: (T, D) whether it counts neither as right nor as wrong.
        positives: (I,) ground-truth boxes of each image that count.
    """

    image: NDArray[np.intp]
    rank: NDArray[np.intp]
    score: NDArray[np.float64]
    true: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    positives: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _GtBoxes:
    """Ground-truth boxes of all images, sorted by `group`, the pair of image and class, ignored ones last."""

    group: NDArray[np.intp]
    box: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


def match(gt: Mapping[str, Any], detections: Any, *, area: str = "all") -> list[Matches]:
    """Return the matches of each class, in the order of the category ids.

    Args:
        gt: a COCO dictionary that has been checked.
        detections: rows (image id, x, y, width, height, score, category id), or dictionaries in results format.
        area: a key of `AREAS`; ground truth of another size is ignored.
    """
    images = np.unique([image["id"] for image in gt["images"]])
    classes = np.unique([category["id"] for category in gt["categories"]])
    low, high = AREAS[area]
    gt_boxes = _gt_boxes(gt, images, classes, low=low, high=high)
    rows = detection_rows(detections)
    group = np.searchsorted(images, rows[:, IMAGE]) * len(classes) + np.searchsorted(classes, rows[:, CATEGORY])
    order = np.lexsort((-rows[:, SCORE], group))
    rows, group, rank = rows[order], group[order], _ranks(group[order])
    kept = rank < MAX_DETECTIONS
    rows, group, rank = rows[kept], group[kept], rank[kept]
    true, ignored = _match_groups(rows[:, BOX], group, gt_boxes)
    area_of = np.prod(rows[:, SIZE], axis=1)
    ignored |= ~true & ((area_of < low) | (area_of > high))
    positives = np.bincount(gt_boxes.group[~gt_boxes.ignored], minlength=len(images) * len(classes))
    positives = positives.reshape(len(images), len(classes))
    image, label = np.divmod(group, len(classes))
    by_score = np.lexsort((rank, image, -rows[:, SCORE], label))
    by_class = np.split(by_score, np.searchsorted(label[by_score], np.arange(1, len(classes))))
    return [
        Matches(
            image=image[chosen],
            rank=rank[chosen],
            score=rows[chosen, SCORE],
            true=true[:, chosen],
            ignored=ignored[:, chosen],
            positives=positives[:, k],
        )
        for k, chosen in enumerate(by_class[: len(classes)])
    ]


def detection_rows(detections: Any) -> NDArray[np.float64]:
    """Return detections as rows (image id, x, y, width, height, score, category id), from dictionaries, too."""
    if not isinstance(detections, np.ndarray):
        detections = [(d["image_id"], *d["bbox"], d["score"], d["category_id"]) for d in detections]
    return np.asarray(detections, dtype=np.float64).reshape(-1, 7)


def _gt_boxes(
    gt: Mapping[str, Any], images: NDArray[Any], classes: NDArray[Any], *, low: float, high: float
) -> _GtBoxes:
    columns = [(g["image_id"], g["category_id"], *g["bbox"], g["area"], g["iscrowd"]) for g in gt["annotations"]]
    image, category, *box, area, iscrowd = np.array(columns, dtype=np.float64).reshape(-1, 8).T
    group = np.searchsorted(images, image) * len(classes) + np.searchsorted(classes, category)
    crowd = iscrowd > 0
    ignored = crowd | (area < low) | (area > high)
    order = np.lexsort((ignored, group))
    box = np.stack(box, axis=1)
    return _GtBoxes(group=group[order], box=box[order], crowd=crowd[order], ignored=ignored[order])


def _ranks(group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rank of each box in its group, the boxes of which stand together."""
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(begins, np.diff(begins, append=len(group)))


def _match_groups(
    boxes: NDArray[np.float64], group: NDArray[np.intp], gt_boxes: _GtBoxes
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (T, D) whether a detection matches a box that counts, and whether it matches one that is ignored.

    Args:
        boxes: (D, 4) of the detections x, y, width, height, sorted by group, then by falling score.
        group: (D,) the pair of image and class of each.
        gt_boxes: of all groups.
    """
    true, ignored = (np.zeros((len(THRESHOLDS), len(group)), dtype=bool) for _ in range(2))
    taken = np.zeros((len(THRESHOLDS), len(gt_boxes.group)), dtype=bool)
    crowd = gt_boxes.crowd
    first, last = (np.searchsorted(gt_boxes.group, group, side=side) for side in ("left", "right"))
    for rows in _chunks(group, last - first):
        gt = first[rows, None] + np.arange(int((last - first)[rows].max()))
        present = np.asarray(gt < last[rows, None])
        gt = np.where(present, gt, first[rows, None])
        iou = np.where(present, _iou(boxes[rows, None], gt_boxes.box[gt], crowd[gt]), -1)
        near = np.flatnonzero(iou.max(axis=1) >= THRESHOLDS[0])
        rows, gt, iou = rows[near], gt[near], iou[near]
        rank = _ranks(group[rows])
        for step in range(rank.max(initial=-1) + 1):  # every group's best detection chooses, then its second best, ...
            current = np.flatnonzero(rank == step)
            candidates = gt[current]
            usable = iou[current] >= THRESHOLDS[:, None, None]
            usable &= ~taken[:, candidates] | crowd[candidates]
            counting = usable & ~gt_boxes.ignored[candidates]
            counts = counting.any(axis=-1)
            preferred = np.where(np.expand_dims(counts, -1), counting, usable)
            # The best IoU; of equals the last, as in the reference.
            best = np.where(preferred, iou[current], -1)[..., ::-1].argmax(axis=-1)
            chosen = np.take_along_axis(candidates, candidates.shape[1] - 1 - best.T, axis=1).T
            matched = usable.any(axis=-1)
            true[:, rows[current]], ignored[:, rows[current]] = counts, matched & ~counts
            threshold, detection = np.nonzero(matched)
            taken[threshold, chosen[threshold, detection]] = True
    return true, ignored


def _chunks(group: NDArray[np.intp], widths: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield the detections that have any ground truth, groups of like width together and whole."""
    rows = np.argsort(widths, kind="stable")
    rows = rows[widths[rows] > 0]
    ends = np.append(np.flatnonzero(np.diff(group[rows])) + 1, len(rows))
    start = 0
    while start < len(rows):
        most = max(_CHUNK // int(widths[rows[start]]), 1)
        end = int(ends[min(np.searchsorted(ends, start + most), len(ends) - 1)])
        yield rows[start:end]
        start = end


def _iou(detections: NDArray[np.float64], gt: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU of boxes x, y, width, height as COCO rounds it; of a crowd the share of the detection in it."""
    size = np.minimum(detections[..., :2] + detections[..., 2:], gt[..., :2] + gt[..., 2:])
    size = size - np.maximum(detections[..., :2], gt[..., :2])
    inside = np.where((size > 0).all(axis=-1), size[..., 0] * size[..., 1], 0)
    area = detections[..., 2] * detections[..., 3]
    union = np.where(crowd, area, area + gt[..., 2] * gt[..., 3] - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
