"""Mean IoU and its variants on boxes whose overlaps can be checked by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothiou.errors import ConfigError, DataError
from smoothiou.evaluate import box_iou, jittered_probes, localize_image, paired_image_bootstrap, summarize
from smoothiou.runs import write_json

UNIT = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU 1/2 with UNIT
EIGHT = [0.0, 0.0, 10.0, 8.0]  # IoU 4/5 with UNIT
FAR = [50.0, 50.0, 60.0, 60.0]

coordinate = st.floats(-100, 100, allow_nan=False)
box = st.builds(
    lambda x, y, w, h: [x, y, x + w, y + h], coordinate, coordinate, st.floats(0.01, 50), st.floats(0.01, 50)
)


class TestBoxIou:
    def test_known_overlaps(self):
        # Half a box, four fifths, itself, nothing, only an edge, and a quarter shared with a shifted one.
        others = [HALF, EIGHT, UNIT, FAR, [10, 0, 20, 10], [5, 5, 15, 15]]
        assert box_iou([UNIT], others)[0] == pytest.approx([0.5, 0.8, 1.0, 0.0, 0.0, 25 / 175])

    def test_boxes_without_area_overlap_nothing_not_even_themselves(self):
        point = [5.0, 5.0, 5.0, 5.0]
        assert box_iou([point], [point, UNIT]).tolist() == [[0.0, 0.0]]
        inverted = [10.0, 10.0, 0.0, 0.0]
        assert box_iou([inverted], [UNIT, inverted]).tolist() == [[0.0, 0.0]]

    def test_empty_sides_keep_their_shape(self):
        assert box_iou([], [UNIT, HALF]).shape == (0, 2)
        assert box_iou([UNIT], np.empty((0, 4))).shape == (1, 0)

    @given(a=box, b=box)
    def test_is_symmetric_bounded_and_one_for_itself(self, a: list[float], b: list[float]):
        there, back = box_iou([a], [b])[0, 0], box_iou([b], [a])[0, 0]
        assert there == back
        assert 0 <= there <= 1
        assert box_iou([a], [a])[0, 0] == 1

    @given(a=box, b=box, scale=st.floats(0.1, 10), shift=coordinate)
    def test_does_not_change_when_both_boxes_are_moved_and_scaled(self, a, b, scale: float, shift: float):
        moved = box_iou([np.array(a) * scale + shift], [np.array(b) * scale + shift])[0, 0]
        assert moved == pytest.approx(box_iou([a], [b])[0, 0], abs=1e-6)

    @pytest.mark.parametrize(
        ("boxes", "words"),
        [
            ([[0, 0, 1]], r"expected boxes of shape \(N, 4\)"),
            ([UNIT, [0, 0, math.nan, 1]], "box 1 is not finite"),
        ],
    )
    def test_refuses_what_is_no_box(self, boxes, words: str):
        with pytest.raises(DataError, match=words):
            box_iou(boxes, [UNIT])


def localized(image_id: int = 1, **changes):
    """One truth of class 1; by default found exactly, with three raw boxes and two probes."""
    arguments = {
        "truth_boxes": [UNIT],
        "truth_labels": [1],
        "raw_boxes": [UNIT, HALF, FAR],
        "detection_boxes": [UNIT],
        "detection_scores": [0.9],
        "detection_labels": [1],
        "probe_truths": [UNIT, UNIT],
        "refined_boxes": [UNIT, HALF],
        **changes,
    }
    return localize_image(image_id, **arguments)


class TestOneImage:
    def test_the_record_holds_every_overlap(self):
        assert localized().record() == {
            "image_id": 1,
            "raw_mean": 0.5,  # 1, 1/2 and 0
            "raw_count": 3,
            "truths": 1,
            "best": [1.0],
            "refined": [1.0, 0.5],
        }

    def test_a_raw_box_is_compared_with_the_best_truth_of_any_class(self):
        image = localized(truth_boxes=[FAR, UNIT], truth_labels=[1, 2], raw_boxes=[EIGHT])
        assert image.raw == pytest.approx([0.8])

    def test_raw_boxes_of_an_image_without_truth_count_as_zero(self):
        image = localized(truth_boxes=[], truth_labels=[], probe_truths=[], refined_boxes=[])
        assert image.raw.tolist() == [0, 0, 0]
        assert image.record()["best"] == []

    def test_crowds_are_no_objects(self):
        image = localized(crowd=[True])
        assert image.raw.tolist() == [0, 0, 0]
        assert (len(image.best), len(image.matched)) == (0, 0)

    def test_difficult_objects_make_a_box_good_but_need_not_be_found(self):
        image = localized(difficult=[1])
        assert image.raw.tolist() == [1, 0.5, 0]
        assert (len(image.best), len(image.matched)) == (0, 0)

    def test_a_detection_of_another_class_finds_nothing(self):
        image = localized(detection_labels=[2])
        assert (image.best.tolist(), image.matched.tolist()) == ([0.0], [])

    def test_each_truth_is_matched_once_by_the_highest_score(self):
        image = localized(detection_boxes=[UNIT, EIGHT], detection_scores=[0.3, 0.9], detection_labels=[1, 1])
        assert image.matched == pytest.approx([0.8])  # the tighter box comes later and finds its truth taken
        assert image.best.tolist() == [1.0]

    def test_the_second_detection_may_take_the_second_truth(self):
        image = localized(
            truth_boxes=[UNIT, EIGHT],
            truth_labels=[1, 1],
            detection_boxes=[UNIT, UNIT],
            detection_scores=[0.9, 0.8],
            detection_labels=[1, 1],
        )
        assert image.matched == pytest.approx([1.0, 0.8])

    def test_one_half_is_a_match_and_less_is_none(self):
        assert localized(detection_boxes=[HALF]).matched == pytest.approx([0.5])
        assert len(localized(detection_boxes=[[0, 0, 10, 4.9]]).matched) == 0

    def test_no_boxes_at_all(self):
        nothing = {key: [] for key in ("raw_boxes", "detection_boxes", "detection_scores", "detection_labels")}
        record = localized(**nothing).record()
        assert (record["raw_mean"], record["raw_count"], record["best"]) == (None, 0, [0.0])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"truth_labels": [1, 2]}, "image 7: truth_labels: expected 1 values"),
            ({"detection_scores": []}, "image 7: detection_scores: expected 1"),
            ({"refined_boxes": [UNIT]}, "image 7: expected one refined box per probe, got 1 for 2"),
            ({"raw_boxes": [[0, 0, math.inf, 1]]}, "image 7: raw_boxes: box 0 is not finite"),
        ],
    )
    def test_arrays_that_do_not_belong_together_are_refused(self, change: dict, words: str):
        with pytest.raises(DataError, match=words):
            localized(7, **change)


class TestSummary:
    def test_the_mean_runs_over_boxes_and_not_over_images(self):
        # Three boxes (1, 1/2, 0) and one of 4/5: 2.3 / 4 over boxes, .65 would be the mean over images.
        block = summarize([localized(1), localized(2, raw_boxes=[EIGHT])])
        assert block["mean_iou"] == pytest.approx(2.3 / 4)
        assert block["mean_iou_positive"] == pytest.approx((1 + 0.5 + 0.8) / 3)
        assert block["mean_iou_matched"] == 1.0
        assert block["refined_mean_iou"] == 0.75
        assert block["refined_above_75"] == block["refined_above_85"] == block["refined_above_90"] == 0.5
        assert block["raw_boxes"] == 4

    def test_the_histogram_counts_every_box_once_the_perfect_one_too(self):
        histogram = summarize([localized()])["histogram"]
        assert histogram["edges"] == [round(0.05 * step, 2) for step in range(21)]
        raw = dict(zip(histogram["edges"], histogram["raw"], strict=False))
        assert {edge: count for edge, count in raw.items() if count} == {0.0: 1, 0.5: 1, 0.95: 1}
        assert sum(histogram["matched"]) == 1
        assert sum(histogram["refined"]) == 2

    def test_of_nothing_means_are_undefined_and_become_null(self, tmp_path):
        block = summarize([])
        assert all(math.isnan(block[key]) for key in block if key not in ("raw_boxes", "histogram"))
        write_json(tmp_path / "block.json", block)
        assert json.loads((tmp_path / "block.json").read_text())["mean_iou"] is None

    @settings(max_examples=50)
    @given(
        images=st.lists(
            st.tuples(st.lists(box, max_size=4), st.lists(box, max_size=6), st.lists(box, max_size=4)),
            max_size=5,
        )
    )
    def test_properties(self, images):
        localizations = [
            localize_image(
                i,
                truth_boxes=truths,
                truth_labels=[1] * len(truths),
                raw_boxes=raw,
                detection_boxes=found,
                detection_scores=np.linspace(1, 0, len(found)),
                detection_labels=[1] * len(found),
                probe_truths=truths,
                refined_boxes=truths,
            )
            for i, (truths, raw, found) in enumerate(images)
        ]
        block = summarize(localizations)
        assert block["raw_boxes"] == sum(len(raw) for _, raw, _ in images)
        assert sum(block["histogram"]["raw"]) == block["raw_boxes"]
        for image, (truths, _, found) in zip(localizations, images, strict=True):
            assert len(image.matched) <= min(len(truths), len(found))
            assert (image.matched >= 0.5).all()
            assert (image.refined == 1).all()  # a probe that came back as its truth
        if block["raw_boxes"]:
            assert 0 <= block["mean_iou"] <= 1
        if (positive := block["mean_iou_positive"]) == positive:
            assert positive >= max(0.5, block["mean_iou"] - 1e-12)


class TestProbes:
    TRUTHS = ([10, 10, 40, 60], [0, 0, 100, 80], [90, 70, 100, 80], [50, 50, 51, 51])

    def test_every_probe_is_wrong_by_the_wanted_amount_and_inside_the_image(self):
        probes = jittered_probes(self.TRUTHS, image_id=3, image_size=(100, 80), per_box=50)
        assert probes.shape == (200, 4)
        assert (probes >= 0).all()
        assert (probes <= [100, 80, 100, 80]).all()
        for truth, group in zip(self.TRUTHS, probes.reshape(4, 50, 4), strict=True):
            overlap = box_iou([truth], group)
            assert overlap.min() >= 0.5
            assert overlap.max() <= 0.9
            assert overlap.std() > 0.03  # spread over the range, not one value

    def test_the_draws_depend_on_seed_and_image_alone(self):
        def draw(seed: int, image: int):
            return jittered_probes(self.TRUTHS, image_id=image, image_size=(100, 80), seed=seed)

        assert np.array_equal(draw(0, 1), draw(0, 1))
        assert not np.array_equal(draw(0, 1), draw(0, 2))
        assert not np.array_equal(draw(0, 1), draw(1, 1))

    def test_known_probe(self):
        # Written down once: another NumPy or an edit that moves the probes would change every refined number.
        probe = jittered_probes([[10, 10, 40, 60]], image_id=1, image_size=(100, 80), per_box=1)
        assert probe[0] == pytest.approx(KNOWN_PROBE, abs=1e-9)

    def test_no_truth_no_probe(self):
        assert jittered_probes([], image_id=1, image_size=(10, 10)).shape == (0, 4)

    def test_a_truth_without_area_gives_a_probe_and_no_crash(self):
        assert jittered_probes([[5, 5, 5, 5]], image_id=1, image_size=(10, 10)).shape == (4, 4)


KNOWN_PROBE = [12.878034159732888, 3.5510965037035476, 48.814129578611144, 69.30580600660777]


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
