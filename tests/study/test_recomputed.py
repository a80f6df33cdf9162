"""The intervals of a small study from its files, by numpy, scipy and pycocotools alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from smoothiou import files
from smoothiou.study import cell_folder, collect, write_or_continue
from tests.study.conftest import row


@pytest.mark.slow
def test_they_agree_with_what_the_study_says(plan_of, finish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import numpy as np
    from scipy import stats

    from smoothiou.metrics import draw_images, evaluate_detections
    from smoothiou.study import comparison
    from tests.metrics.test_bootstrap import repeated, shifted
    from tests.metrics.test_coco import random_set, reference

    images, draws, seeds = 12, 30, (0, 1, 2)
    gt, base = random_set(21, images=images, classes=2)
    plan, _ = write_or_continue(tmp_path, plan_of(("huber", "smooth-iou"), seeds))
    runs = {}
    for cell in plan["cells"]:
        by = 3.0 + cell["seed"] + (2.5 + 0.7 * cell["seed"] if cell["loss"] == "huber" else 0)
        runs[cell["loss"], cell["seed"]] = found = shifted(base, by)
        home = finish(tmp_path, cell, AP=evaluate_detections(gt, found)["AP"])
        files.write_json(home / "predictions.json", found)
        files.write_json(home / "localization.json", {"images": []})
    monkeypatch.setattr(comparison, "DRAWS", draws)
    done = {(cell["loss"], cell["seed"]): cell_folder(tmp_path, cell) for cell in plan["cells"]}
    uncertainty = comparison._image_uncertainty(plan, comparison._draw(gt, done))
    files.write_json(tmp_path / "comparison.json", {**uncertainty, "images": images})
    entry = row(collect(tmp_path), "smooth-iou", "AP")

    ap = lambda found, counts: reference(*repeated(gt, found, counts)).stats[0]  # noqa: E731
    counts = draw_images(images, resamples=draws)
    gain = lambda seed, n: ap(runs["smooth-iou", seed], n) - ap(runs["huber", seed], n)  # noqa: E731
    drawn = np.array([[gain(seed, n) for n in counts] for seed in seeds])
    whole = np.array([gain(seed, np.ones(images, dtype=int)) for seed in seeds])
    matrix = np.cov(drawn)
    c = (matrix.sum() - np.trace(matrix)) / 6
    assert entry["covariance"] == pytest.approx(c, rel=1e-12)
    part, c = whole.var(ddof=1) / 3, max(c, 0)
    nu = (part + c) ** 2 / (part**2 / 2 + c**2 / (images - 1))
    half = stats.t.ppf(0.975, nu) * math.sqrt(part + c)
    assert entry["mean"] == pytest.approx(whole.mean(), rel=1e-12)
    assert (entry["low"], entry["high"]) == pytest.approx((whole.mean() - half, whole.mean() + half), rel=1e-9)
    for pair in (r for r in uncertainty["bootstrap"] if r["metric"] == "AP"):
        ends = np.percentile(drawn[pair["seed"]], [2.5, 97.5])
        assert (pair["low"], pair["high"]) == pytest.approx(tuple(ends), abs=1e-14)
