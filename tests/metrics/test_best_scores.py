"""The best score of a class: known curves, ties, and that it is never chosen on the images that judge it."""

from __future__ import annotations

import numpy as np
import pytest

from smoothiou.metrics.best_scores import best_scores, score_curve
from smoothiou.metrics.coco import prepare
from smoothiou.metrics.matching import match

RIGHT, WRONG = [0, 0, 10, 10], [50, 50, 10, 10]


def truth(images: int) -> dict:
    """One box of class 1 in each image."""
    return {
        "images": [{"id": n} for n in range(1, images + 1)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": RIGHT} for n in range(1, images + 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def found(*rows: tuple[int, float, list[int]]) -> list[dict]:
    return [{"image_id": image, "category_id": 1, "bbox": box, "score": score} for image, score, box in rows]


def test_the_curve_counts_right_and_wrong_from_each_score_on():
    # 0.9 right, 0.8 wrong, 0.7 right: F1 is 2/3, then 1/2, then 4/5.
    matches = match(*prepare(truth(2), found((1, 0.9, RIGHT), (1, 0.8, WRONG), (2, 0.7, RIGHT))))[0]
    curve = score_curve(matches)
    assert curve.f1 == pytest.approx([2 / 3, 1 / 2, 4 / 5])
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall == pytest.approx([1 / 2, 1 / 2, 1])
    assert curve.best() == 0.7
    assert curve.counts(0.8) == (1, 1)
    assert curve.counts(0.95) == (0, 0)


def test_equal_scores_are_kept_or_left_out_together():
    matches = match(*prepare(truth(2), found((1, 0.9, RIGHT), (1, 0.9, WRONG))))[0]
    assert len(score_curve(matches).scores) == 1


def test_a_score_chosen_elsewhere_is_judged_here():
    # On val 0.5 is best (half way from 0.6 to 0.4); here that keeps one right and one wrong of two boxes: F1 1/2.
    val = ("val", truth(1), found((1, 0.6, RIGHT), (1, 0.4, WRONG)))
    result = best_scores(truth(2), found((1, 0.9, WRONG), (2, 0.55, RIGHT), (1, 0.45, RIGHT)), chosen_on=val)
    assert result["chosen_on"] == "val"
    assert result["per_class"]["cat"] == {
        "score": pytest.approx(0.5), "precision": 0.5, "recall": 0.5, "f1": pytest.approx(0.5),
    }  # fmt: skip
    assert result["per_class"]["dog"]["score"] is None


def test_cross_fitting_judges_no_image_with_a_score_that_it_chose():
    # Only the image of each part would choose a score below 0.3, for its own box; so none of these is ever found.
    rows = [(n, 0.9, WRONG) for n in range(1, 6)] + [(1, 0.2, RIGHT)]
    result = best_scores(truth(5), found(*rows))["per_class"]["cat"]
    assert result["f1"] == 0
    # With the same scores everywhere, each part finds what the others would.
    same = best_scores(
        truth(10), found(*[(n, 0.8, RIGHT) for n in range(1, 11)], *[(n, 0.3, WRONG) for n in range(1, 11)])
    )
    assert same["per_class"]["cat"] == {"score": pytest.approx(0.55), "precision": 1, "recall": 1, "f1": 1}
    assert "cross-fitted" in same["chosen_on"]


def test_chance_scores_gain_nothing_by_choice():
    # Right by the toss of a coin: F1 of the best score on the same images exceeds what cross-fitting says.
    random = np.random.default_rng(0)
    rows = [(n, float(random.random()), RIGHT if random.random() < 0.5 else WRONG) for n in range(1, 41)]
    matches = match(*prepare(truth(40), found(*rows)))[0]
    honest = best_scores(truth(40), found(*rows))["per_class"]["cat"]["f1"]
    assert honest <= score_curve(matches).f1.max()
