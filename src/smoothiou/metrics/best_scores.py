"""The score from which a class's detections are kept: highest F1, never chosen where it is judged. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothiou.metrics.coco import GroundTruth, Predictions, class_names, prepare
from smoothiou.metrics.matching import IOU_50, Matches, match

PARTS = 5
"""Of the images, for cross-fitting."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCurve:
    """What one class's detections are worth from each score on, highest score first.

    Args:
        scores: (S,) all different.
        true, wrong: (S,) right and wrong detections of this score or more.
        positives: ground-truth boxes.
    """

    scores: NDArray[np.float64]
    true: NDArray[np.intp]
    wrong: NDArray[np.intp]
    positives: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the detections that are right."""
        return self.true / np.maximum(self.true + self.wrong, 1)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the ground-truth boxes that are found."""
        return self.true / max(self.positives, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of the two: 2 true / (detections + positives)."""
        return 2 * self.true / np.maximum(self.true + self.wrong + self.positives, 1)

    def best(self) -> float | None:
        """Return the score of the highest F1, half way down to the next detection; None where nothing is right."""
        if not len(self.scores) or not self.true[-1]:
            return None
        at = int(self.f1.argmax())
        lower = self.scores[at + 1] if at + 1 < len(self.scores) else self.scores[at]
        return float((self.scores[at] + lower) / 2)

    def counts(self, score: float) -> tuple[int, int]:
        """Return the right and the wrong detections of a score or more."""
        number = int(np.searchsorted(-self.scores, -score, side="right"))
        return (int(self.true[number - 1]), int(self.wrong[number - 1])) if number else (0, 0)


def score_curve(matches: Matches, images: NDArray[np.bool_] | None = None) -> ScoreCurve:
    """Return the curve of one class at an IoU of 0.5.

    Args:
        matches: of the class.
        images: (I,) which images count; None for all.
    """
    counted = ~matches.ignored[IOU_50]
    if images is not None:
        counted &= images[matches.image]
    scores, right = matches.score[counted], matches.true[IOU_50, counted]
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # of equal scores all or none are kept
    positives = matches.positives if images is None else matches.positives[images]
    return ScoreCurve(scores[last], np.cumsum(right)[last], np.cumsum(~right)[last], int(positives.sum()))


def best_scores(
    truth: GroundTruth,
    predictions: Predictions,
    *,
    chosen_on: tuple[str, GroundTruth, Predictions] | None = None,
) -> dict[str, Any]:
    """Return the best score of each class, and what it is worth on images that it was not chosen on.

    Args:
        truth, predictions: of the test images, as in `evaluate_detections`.
        chosen_on: name, truth and predictions of the images that scores are chosen on; None for cross-fitting: of five
            parts of the test images, each is judged with the score that is best on the other four, and the score given
            is the median of the five.

    Returns:
        {"chosen_on", "iou": 0.5, "per_class": {name: {"score", "precision", "recall", "f1"}}}; None in place of a
        number where a class has nothing to choose or to judge by.
    """
    gt, detections = prepare(truth, predictions)
    matches = match(gt, detections)
    if chosen_on is not None:
        chosen = [score_curve(each).best() for each in match(*prepare(*chosen_on[1:]))]
        judged = [_judge([(score_curve(each), score)]) for each, score in zip(matches, chosen, strict=True)]
    else:
        fits = [_cross_fit(each) for each in matches]
        chosen, judged = [score for score, _ in fits], [numbers for _, numbers in fits]
    return {
        "chosen_on": chosen_on[0] if chosen_on else f"cross-fitted over {PARTS} parts of the test images",
        "iou": 0.5,
        "per_class": {
            name: {"score": score, **numbers}
            for name, score, numbers in zip(class_names(gt), chosen, judged, strict=True)
        },
    }


def _cross_fit(matches: Matches) -> tuple[float | None, dict[str, float | None]]:
    part = np.arange(len(matches.positives)) % PARTS
    chosen = [score_curve(matches, part != number).best() for number in range(PARTS)]
    judged = _judge([(score_curve(matches, part == number), score) for number, score in enumerate(chosen)])
    known = [score for score in chosen if score is not None]
    return (float(np.median(known)) if known else None), judged


def _judge(parts: Sequence[tuple[ScoreCurve, float | None]]) -> dict[str, float | None]:
    """Return precision, recall and F1 of all parts together, each at its own score; without one nothing is kept."""
    counts = [curve.counts(score) if score is not None else (0, 0) for curve, score in parts]
    true, wrong = (sum(each) for each in zip(*counts, strict=True))
    positives = sum(curve.positives for curve, _ in parts)
    return {
        "precision": true / (true + wrong) if true + wrong else None,
        "recall": true / positives if positives else None,
        "f1": 2 * true / (true + wrong + positives) if true + wrong + positives else None,
    }
