"""The bootstrap over images, against pycocotools on images that are really repeated: equal to the last bit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothiou.errors import ConfigError
from smoothiou.metrics import (
    covariance_of_draws,
    draw_images,
    drawn_means,
    drawn_metrics,
    evaluate_detections,
    percentile_interval,
)
from smoothiou.metrics.coco import prepare
from smoothiou.metrics.matching import match
from tests.metrics.test_coco import KEYS, random_set, reference, same_bits


def repeated(gt: dict, predictions: list[dict], counts: np.ndarray) -> tuple[dict, list[dict]]:
    """Every image as often as it is drawn, each copy an image with an id of its own."""
    drawn, found = {"images": [], "annotations": [], "categories": gt["categories"]}, []
    copies = itertools.chain.from_iterable([image] * n for image, n in zip(sorted_ids(gt), counts, strict=True))
    for new, old in enumerate(copies, 1):
        drawn["images"].append({"id": new})
        for entry in (a for a in gt["annotations"] if a["image_id"] == old):
            drawn["annotations"].append({**entry, "image_id": new, "id": len(drawn["annotations"]) + 1})
        found += [{**entry, "image_id": new} for entry in predictions if entry["image_id"] == old]
    return drawn, found


def sorted_ids(gt: dict) -> list[int]:
    return sorted(image["id"] for image in gt["images"])


def shifted(predictions: list[dict], by: float) -> list[dict]:
    return [{**entry, "bbox": [entry["bbox"][0] + by, *entry["bbox"][1:]]} for entry in predictions]


class TestDrawnMetrics:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10**6), density=st.sampled_from([1, 4, 12]), classes=st.integers(1, 4))
    def test_equal_pycocotools_on_repeated_images_to_the_last_bit(self, seed: int, density: int, classes: int):
        # Scores of one decimal: many detections of an image share theirs, so the order of equal scores counts.
        gt, predictions = random_set(seed, density=density, classes=classes)
        counts = draw_images(12, resamples=4, seed=seed)
        ours = drawn_metrics(gt, predictions, counts)
        for draw, count in enumerate(counts):
            stats = reference(*repeated(gt, predictions, count)).stats[:9]
            for key, theirs in zip(KEYS, stats, strict=True):
                assert same_bits(ours[key][draw], theirs), (key, draw)

    def test_an_image_that_is_drawn_very_often_is_as_many_images(self):
        gt, predictions = random_set(3, images=3, classes=2)
        counts = np.array([[40, 0, 3]], dtype=np.int32)
        ours, theirs = drawn_metrics(gt, predictions, counts), reference(*repeated(gt, predictions, counts[0])).stats
        assert all(same_bits(ours[key][0], value) for key, value in zip(KEYS, theirs[:9], strict=True))

    @pytest.mark.parametrize("seed", range(5))
    def test_each_image_once_gives_the_metrics_themselves(self, seed: int):
        gt, predictions = random_set(seed, images=40)
        ours = drawn_metrics(gt, predictions, np.ones((1, 40), dtype=np.int32))
        assert {key: str(value[0]) for key, value in ours.items()} == {
            key: str(np.float64(value)) for key, value in evaluate_detections(gt, predictions).items()
        }

    def test_the_parts_in_which_draws_are_taken_change_nothing(self, monkeypatch):
        gt, predictions = random_set(5, images=15)
        counts = draw_images(15, resamples=20)
        whole = drawn_metrics(gt, predictions, counts)
        monkeypatch.setattr("smoothiou.metrics.bootstrap._CHUNK", 1)
        monkeypatch.setattr("smoothiou.metrics.matching._CHUNK", 1)
        parts = drawn_metrics(gt, predictions, counts)
        assert all(np.array_equal(whole[key], parts[key], equal_nan=True) for key in whole)

    def test_without_ground_truth_or_detections(self):
        gt, predictions = random_set(1)
        counts = draw_images(12, resamples=3)
        assert drawn_metrics(gt, [], counts)["AP"].tolist() == [0, 0, 0]
        assert np.isnan(drawn_metrics({**gt, "annotations": []}, predictions, counts)["AP"]).all()

    def test_a_class_without_test_boxes_is_left_out_of_every_draw(self):
        gt, predictions = random_set(2, classes=1)
        counts = draw_images(12, resamples=5)
        more = {**gt, "categories": [*gt["categories"], {"id": 99, "name": "absent"}]}
        assert np.array_equal(
            drawn_metrics(more, predictions, counts)["AP"], drawn_metrics(gt, predictions, counts)["AP"], equal_nan=True
        )

    def test_only_the_best_hundred_of_an_image_and_class_are_matched(self):
        gt = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
        many = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": i / 200} for i in range(130)]
        (own,) = match(*prepare(gt, many))
        assert len(own.image) == 100
        assert own.score.min() == 30 / 200


class TestDraws:
    def test_seeds_give_other_draws_and_the_same_seed_the_same(self):
        first, second = draw_images(50, resamples=20), draw_images(50, resamples=20, seed=1)
        assert (first == draw_images(50, resamples=20)).all()
        assert not (first[1:] == second[:-1]).all(axis=1).any()

    @pytest.mark.parametrize("options", [{"resamples": 0}, {"resamples": 5, "seed": -1}])
    def test_impossible_options_are_refused(self, options: dict):
        with pytest.raises(ConfigError, match="resamples"):
            draw_images(30, **options)


class TestMeans:
    def test_an_image_counts_by_its_boxes(self):
        # 2 boxes of mean .4 twice and 3 of mean .8 once: (1.6 + 2.4) / 7.
        means = drawn_means(np.array([0.8, 2.4]), np.array([2.0, 3.0]), np.array([[2, 1], [0, 0]]))
        assert means[0] == pytest.approx(4 / 7)
        assert math.isnan(means[1])

    def test_the_interval_is_as_wide_as_theory_says(self):
        # 400 images with independent noise of sd s: about +- 1.96 s / 20.
        noise = np.random.default_rng(5).normal(0, 0.05, 400)
        means = drawn_means(7 * noise, np.full(400, 7.0), draw_images(400, resamples=2000))
        low, high = percentile_interval(means)
        assert high - low == pytest.approx(2 * 1.96 * noise.std() / 20, rel=0.1)

    def test_an_interval_of_nothing_is_undefined(self):
        assert all(map(math.isnan, percentile_interval(np.array([np.nan]))))


class TestCovariance:
    def test_it_is_numpys(self):
        draws = np.random.default_rng(0).normal(size=(3, 100))
        matrix = np.cov(draws)
        variance, covariance = covariance_of_draws(draws) or (0, 0)
        assert variance == pytest.approx(np.diag(matrix).mean())
        assert covariance == pytest.approx(matrix[~np.eye(3, dtype=bool)].mean())

    def test_undefined_draws_are_left_out_and_too_few_give_none(self):
        draws = np.array([[1.0, 2.0, np.nan, 4.0], [1.0, 3.0, 0.0, 2.0]])
        assert covariance_of_draws(draws) == covariance_of_draws(draws[:, [0, 1, 3]])
        assert covariance_of_draws(draws[:, :1]) is None
        assert covariance_of_draws(np.empty((0, 5))) is None

    def test_of_one_seed_there_is_no_covariance(self):
        variance, covariance = covariance_of_draws(np.array([[1.0, 2.0, 3.0]])) or (0, 1)
        assert (variance, covariance) == (1.0, 0.0)
