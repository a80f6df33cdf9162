"""The refinement probe: where its boxes lie, and its numbers on lists that can be summed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothiou.errors import ConfigError, DataError
from smoothiou.metrics import box_iou, jittered_probes, paired_probes, probe_numbers
from smoothiou.metrics.refinement import COLUMNS, EDGES


class TestProbes:
    TRUTHS = ([10, 10, 40, 60], [0, 0, 100, 80], [90, 70, 100, 80], [50, 50, 51, 51])

    def test_every_truth_stands_once_in_each_twentieth_of_iou_from_one_half_to_one(self):
        probes = jittered_probes(self.TRUTHS, image_id=3, image_size=(100, 80))
        assert probes.shape == (40, 4)
        assert (probes >= 0).all()
        assert (probes <= [100, 80, 100, 80]).all()
        for truth, group in zip(self.TRUTHS, probes.reshape(4, 10, 4), strict=True):
            assert np.digitize(box_iou([truth], group)[0], EDGES).tolist() == list(range(1, 11))

    @settings(max_examples=50, deadline=None)
    @given(
        corner=st.tuples(st.floats(0, 400), st.floats(0, 300)),
        side=st.tuples(st.floats(1, 200), st.floats(1, 200)),
        image=st.integers(0, 10**6),
        seed=st.integers(0, 10**6),
    )
    def test_any_box_in_the_image_gives_probes_in_the_range(self, corner, side, image, seed):
        low = np.array(corner)
        truth = [*low, *np.minimum(low + side, (420.0, 320.0))]
        probes = jittered_probes([truth], image_id=image, image_size=(420, 320), seed=seed, per_box=4)
        overlap = box_iou([truth], probes)[0]
        assert (overlap >= np.array([0.5, 0.625, 0.75, 0.875]) - 1e-9).all()
        assert (overlap <= np.array([0.625, 0.75, 0.875, 1.0]) + 1e-6).all()

    def test_probes_err_in_every_direction_and_in_size(self):
        truths = np.tile([200.0, 150.0, 260.0, 230.0], (200, 1))
        probes = jittered_probes(truths, image_id=1, image_size=(640, 480))
        center = (probes[:, :2] + probes[:, 2:]) / 2 - [230, 190]
        size = np.log((probes[:, 2:] - probes[:, :2]) / [60, 80])
        for column in (*center.T, *size.T):
            assert 0.4 < (column > 0).mean() < 0.6
            assert abs(column.mean()) < 0.15 * column.std()

    def test_the_draws_depend_on_seed_and_image_alone(self):
        def draw(seed: int, image: int):
            return jittered_probes(self.TRUTHS, image_id=image, image_size=(100, 80), seed=seed)

        assert np.array_equal(draw(0, 1), draw(0, 1))
        assert not np.array_equal(draw(0, 1), draw(0, 2))
        assert not np.array_equal(draw(0, 1), draw(1, 1))

    def test_known_probe(self):
        # Written down once: another NumPy or an edit that moves the probes would change every refined number.
        probe = jittered_probes([[10, 10, 40, 60]], image_id=1, image_size=(100, 80), per_box=1)
        assert probe[0] == pytest.approx(KNOWN_PROBE, abs=1e-6)

    def test_no_truth_no_probe(self):
        assert jittered_probes([], image_id=1, image_size=(10, 10)).shape == (0, 4)
        assert jittered_probes([[1, 1, 5, 5]], image_id=1, image_size=(10, 10), per_box=0).shape == (0, 4)

    def test_a_truth_without_area_gives_probes_and_no_crash(self):
        assert jittered_probes([[5, 5, 5, 5]], image_id=1, image_size=(10, 10)).shape == (10, 4)


KNOWN_PROBE = [9.609812, 11.178736, 40.499982, 59.784952]


def image(number: int, before: list[float], after: list[float]) -> dict:
    return {"image_id": number, "before": before, "refined": after}


RUN = [image(1, [0.52, 0.75, 0.99], [0.6, 0.8, 1.0]), image(2, [0.77], [0.7])]


class TestNumbers:
    def test_mean_shares_and_curve_by_hand(self):
        numbers = probe_numbers(RUN)
        assert numbers["probes"] == 4
        assert numbers["mean_before"] == pytest.approx((0.52 + 0.75 + 0.99 + 0.77) / 4)
        assert numbers["refined_mean_iou"] == pytest.approx(3.1 / 4)
        assert [numbers[f"refined_above_{t}"] for t in (50, 60, 65, 70, 75, 80, 90, 95)] == [
            1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.25,
        ]  # fmt: skip
        assert numbers["refined_from_50"] == pytest.approx(0.6)
        assert numbers["refined_from_75"] == pytest.approx((0.8 + 0.7) / 2)
        assert numbers["refined_from_95"] == 1.0
        assert math.isnan(numbers["refined_from_60"])

    def test_an_iou_on_an_edge_belongs_to_the_bin_on_its_right_and_one_to_the_last(self):
        for step in range(50, 100, 5):
            numbers = probe_numbers([image(1, [step / 100], [0.4])])
            assert numbers[f"refined_from_{step}"] == pytest.approx(0.4)
        assert probe_numbers([image(1, [1.0], [0.4])])["refined_from_95"] == pytest.approx(0.4)
        below = probe_numbers([image(1, [0.49], [0.4])])
        assert below["refined_mean_iou"] == pytest.approx(0.4)
        assert all(math.isnan(below[column]) for column in COLUMNS if "from" in column)

    def test_of_nothing_every_number_is_undefined(self):
        numbers = probe_numbers([])
        assert numbers["probes"] == 0
        assert all(math.isnan(numbers[key]) for key in numbers if key != "probes")
        assert numbers.keys() == probe_numbers([image(1, [], [])]).keys()

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"image_id": 1, "before": [0.5]}, r"images\[0\]: refined"),
            (image(1, [0.5], []), "before.*1, 0"),
        ],
    )
    def test_what_does_not_belong_together_is_refused(self, entry, words):
        with pytest.raises(DataError, match=words):
            probe_numbers([entry])


def shifted(run: list[dict], gain: float) -> list[dict]:
    return [{**entry, "refined": [value + gain for value in entry["refined"]]} for entry in run]


class TestPaired:
    def test_a_constant_gain_is_found_exactly_and_has_no_uncertainty(self):
        row = paired_probes([RUN], [shifted(RUN, 0.01)], resamples=50)["refined_mean_iou"]
        assert [row[key] for key in ("difference", "low", "high")] == pytest.approx([0.01] * 3)
        assert row["pairs"] == pytest.approx([0.01])

    def test_the_difference_is_the_mean_over_boxes_and_pairs(self):
        one = paired_probes([RUN, RUN], [shifted(RUN, 0.01), shifted(RUN, 0.04)], resamples=20)
        assert one["refined_mean_iou"]["difference"] == pytest.approx(0.025)
        assert one["refined_mean_iou"]["pairs"] == pytest.approx([0.01, 0.04])
        # .7 -> .71 and .74 passes no threshold; .6 + .04, .8 + .01 and .8 + .04 do: 0.80 was not above .80.
        assert one["refined_above_80"]["difference"] == pytest.approx((1 / 4 + 1 / 4) / 2)
        assert one["refined_above_90"]["difference"] == pytest.approx(0)

    def test_boxes_of_one_image_are_drawn_together(self):
        # 100 images of 20 boxes that all gain or all lose: the uncertainty is that of 100 images, not of 2000 boxes.
        gains = np.random.default_rng(3).choice([-0.02, 0.03], 100)
        base = [image(i, [0.6] * 20, [0.7] * 20) for i in range(100)]
        other = [image(i, [0.6] * 20, [0.7 + gain] * 20) for i, gain in enumerate(gains)]
        row = paired_probes([base], [other], resamples=2000)["refined_mean_iou"]
        assert row["difference"] == pytest.approx(gains.mean())
        assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * gains.std() / 10, rel=0.1)

    def test_the_order_of_images_does_not_matter_and_swapping_turns_the_sign(self):
        rng = np.random.default_rng(0)
        before = [rng.uniform(0.5, 1, 5).tolist() for _ in range(20)]
        a, b = ([image(i, own, rng.random(5).tolist()) for i, own in enumerate(before)] for _ in range(2))
        assert paired_probes([a], [b], resamples=20) == paired_probes([a], [b[::-1]], resamples=20)
        there, back = (paired_probes([x], [y])["refined_mean_iou"] for x, y in ((a, b), (b, a)))
        assert there["difference"] == pytest.approx(-back["difference"])
        assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))

    def test_what_no_box_tells_is_undefined(self):
        rows = paired_probes([RUN], [RUN], resamples=10)
        assert math.isnan(rows["refined_from_60"]["difference"])
        assert math.isnan(rows["refined_from_60"]["low"])

    @pytest.mark.parametrize("other", [RUN[:1], [RUN[0], image(2, [0.78], [0.7])], [RUN[0], image(3, [0.77], [0.7])]])
    def test_other_probes_are_refused(self, other):
        with pytest.raises(DataError, match="image [23]"):
            paired_probes([RUN], [other])

    def test_impossible_options_are_refused(self):
        with pytest.raises(ConfigError, match="resamples"):
            paired_probes([RUN], [RUN], resamples=0)
