"""The paired bootstrap over images, against differences and intervals that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from smoothiou.errors import ConfigError, DataError
from smoothiou.metrics import paired_image_bootstrap


def entries(means: list[float], counts: list[int]) -> list[dict]:
    return [
        {"image_id": i, "raw_mean": mean if count else None, "raw_count": count, "refined": [mean] * 2}
        for i, (mean, count) in enumerate(zip(means, counts, strict=True))
    ]


class TestPairedBootstrap:
    def test_a_constant_gain_has_an_interval_of_no_width(self):
        a = entries([0.2, 0.4, 0.6], [10, 20, 5])
        b = entries([0.3, 0.5, 0.7], [10, 20, 5])
        rows = paired_image_bootstrap(a, b, resamples=100)
        for metric in ("mean_iou", "refined_mean_iou"):
            assert [rows[metric][key] for key in ("difference", "low", "high")] == pytest.approx([0.1] * 3)
        assert rows["mean_iou"]["resamples"] == 100

    def test_the_difference_is_that_of_means_over_boxes(self):
        # (0.2 * 10 + 0.8 * 30) / 40 against (0.4 * 20 + 0.8 * 20) / 40
        rows = paired_image_bootstrap(entries([0.4, 0.8], [20, 20]), entries([0.2, 0.8], [10, 30]), resamples=10)
        assert rows["mean_iou"]["difference"] == pytest.approx(26 / 40 - 24 / 40)

    def test_the_interval_covers_what_theory_says(self):
        # 400 images with independent noise of sd s in each difference: about +- 1.96 s / 20.
        noise = np.random.default_rng(5).normal(0, 0.05, 400)
        a = entries([0.5] * 400, [7] * 400)
        b = entries((0.5 + noise).tolist(), [7] * 400)
        row = paired_image_bootstrap(a, b, resamples=2000)["mean_iou"]
        assert row["difference"] == pytest.approx(noise.mean())
        assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * noise.std() / 20, rel=0.1)

    def test_the_order_of_images_does_not_matter_and_the_seed_does(self):
        rng = np.random.default_rng(0)
        a, b = (entries(rng.random(30).tolist(), [3] * 30) for _ in range(2))
        assert paired_image_bootstrap(a, b, resamples=50) == paired_image_bootstrap(a, b[::-1], resamples=50)
        assert paired_image_bootstrap(a, b, resamples=50) != paired_image_bootstrap(a, b, resamples=50, seed=1)

    def test_swapping_the_sides_turns_the_sign(self):
        rng = np.random.default_rng(1)
        a, b = (entries(rng.random(30).tolist(), [3] * 30) for _ in range(2))
        there, back = paired_image_bootstrap(a, b)["mean_iou"], paired_image_bootstrap(b, a)["mean_iou"]
        assert there["difference"] == -back["difference"]
        assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))

    def test_without_boxes_the_difference_is_undefined(self):
        rows = paired_image_bootstrap(entries([0.0], [0]), entries([0.5], [3]), resamples=10)
        assert math.isnan(rows["mean_iou"]["difference"])
        assert rows["refined_mean_iou"]["difference"] == pytest.approx(0.5)
        assert math.isnan(paired_image_bootstrap([], [], resamples=10)["mean_iou"]["difference"])

    def test_runs_over_other_images_are_refused(self):
        with pytest.raises(DataError, match="image 1 is in one of the two runs only"):
            paired_image_bootstrap(entries([0.5], [1]), entries([0.5, 0.5], [1, 1]))

    def test_a_missing_key_is_named(self):
        broken = entries([0.5], [1])
        del broken[0]["refined"]
        with pytest.raises(DataError, match=r"per_image_b\[0\]: refined is missing"):
            paired_image_bootstrap(entries([0.5], [1]), broken)

    def test_impossible_options_are_refused(self):
        with pytest.raises(ConfigError, match="resamples"):
            paired_image_bootstrap([], [], resamples=0)
