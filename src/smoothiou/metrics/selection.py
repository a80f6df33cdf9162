"""From candidates to detections: which overlapping boxes of a class stay, with which score. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from smoothiou.metrics.overlap import Array, box_iou

Kept = tuple[Array, Array]
"""Boxes (D, 4) and scores (D,)."""

SIGMA = 0.5
"""Of soft NMS: a box with IoU u to a better one keeps exp(-u^2 / SIGMA) of its score, as in its authors' code."""


def hard(boxes: Array, scores: Array, *, iou: float) -> Kept:
    """Leave out what overlaps a better-scored box by more than `iou`: plain NMS."""
    return _suppress(boxes, scores, box_iou, iou)


def diou(boxes: Array, scores: Array, *, iou: float) -> Kept:
    """Leave out what has a DIoU above `iou` with a better-scored box, so that far centres both stay.

    Reference:
        Z. Zheng et al., Distance-IoU Loss, https://arxiv.org/abs/1911.08287, Eq. 13.
    """
    return _suppress(boxes, scores, _box_diou, iou)


def soft(boxes: Array, scores: Array, *, iou: float) -> Kept:
    """Lower the score of what overlaps a better-scored box, the more the more it does; `iou` is not used.

    Reference:
        N. Bodla et al., Soft-NMS, https://arxiv.org/abs/1704.04503, the Gaussian form.
    """
    scores, kept = scores.copy(), []
    left = np.arange(len(scores))
    while len(left):
        best = left[np.argmax(scores[left])]
        kept.append(best)
        left = left[left != best]
        overlap = box_iou(boxes[best : best + 1], boxes[left])[0]
        scores[left] *= np.exp(-(overlap**2) / SIGMA)
    return boxes[kept], scores[kept]


def wbf(boxes: Array, scores: Array, *, iou: float) -> Kept:
    """Average the boxes that overlap by more than `iou`, by their scores; the score is the mean of theirs.

    Reference:
        R. Solovyev et al., Weighted boxes fusion, https://arxiv.org/abs/1910.13302, of one model.
    """
    sums, fused = np.zeros((0, 4)), np.zeros((0, 4))
    totals, counts = np.zeros(0), np.zeros(0)
    for row in np.argsort(-scores, kind="stable"):
        overlap = box_iou(boxes[row : row + 1], fused)[0]
        best = int(np.argmax(overlap)) if len(overlap) else -1
        if best < 0 or overlap[best] <= iou:
            best = len(fused)
            sums, fused = (np.vstack((values, np.zeros((1, 4)))) for values in (sums, fused))
            totals, counts = (np.append(values, 0.0) for values in (totals, counts))
        sums[best] += scores[row] * boxes[row]
        totals[best] += scores[row]
        counts[best] += 1
        fused[best] = sums[best] / totals[best]
    return fused, totals / np.maximum(counts, 1)


SELECTIONS: Mapping[str, Callable[..., Kept]] = {"hard": hard, "soft": soft, "diou": diou, "wbf": wbf}
"""By name, as `smoothiou eval --nms` takes them."""


def select(
    boxes: Array, scores: Array, labels: NDArray[np.int64], *, by: str, iou: float, score: float, limit: int
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return the detections of an image, best first.

    Args:
        boxes: candidates (N, 4) xyxy, a box for each class that it may be of.
        scores: (N,).
        labels: (N,); a class is selected by itself.
        by: a key of `SELECTIONS`.
        iou: see there.
        score: detections with a lower score are left out.
        limit: detections at most.
    """
    parts = []
    for label in np.unique(labels):
        rows = labels == label
        kept, values = SELECTIONS[by](boxes[rows].astype(np.float64), scores[rows].astype(np.float64), iou=iou)
        parts.append((kept, values, np.full(len(values), label)))
    if not parts:
        return np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64)
    selected, values, of = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-values, kind="stable")
    order = order[values[order] >= score][:limit]
    return selected[order], values[order], of[order]


def _suppress(boxes: Array, scores: Array, overlap_of: Callable[[Array, Array], Array], iou: float) -> Kept:
    kept, left = [], np.argsort(-scores, kind="stable")
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[overlap_of(boxes[best : best + 1], boxes[left])[0] <= iou]
    return boxes[kept], scores[kept]


def _box_diou(a: Array, b: Array) -> Array:
    """IoU less the squared distance of the centres in diagonals of the enclosing box (A, B)."""
    low, high = np.minimum(a[:, None, :2], b[None, :, :2]), np.maximum(a[:, None, 2:], b[None, :, 2:])
    diagonal = ((high - low) ** 2).sum(2)
    apart = ((a[:, None, :2] + a[:, None, 2:] - b[None, :, :2] - b[None, :, 2:]) ** 2).sum(2) / 4
    return box_iou(a, b) - np.divide(apart, diagonal, out=np.zeros_like(apart), where=diagonal > 0)
