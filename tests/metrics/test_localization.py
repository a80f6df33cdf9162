"""Mean IoU and its variants on boxes whose overlaps can be checked by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothiou.errors import DataError
from smoothiou.files import write_json
from smoothiou.metrics import box_iou, image_sums, localize_image, summarize

UNIT = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU 1/2 with UNIT
EIGHT = [0.0, 0.0, 10.0, 8.0]  # IoU 4/5 with UNIT
QUARTER = [0.0, 0.0, 10.0, 2.5]  # IoU 1/4 with UNIT
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
            ([[0, 0, 1]], r"\(N, 4\)"),
            ([UNIT, [0, 0, math.nan, 1]], "box 1.*finite"),
        ],
    )
    def test_refuses_what_is_no_box(self, boxes, words: str):
        with pytest.raises(DataError, match=words):
            box_iou(boxes, [UNIT])


def localized(image_id: int = 1, **changes):
    """One truth of class 1; by default found exactly, with three raw boxes and two probes."""
    arguments = {
        "gt_boxes": [UNIT],
        "gt_labels": [1],
        "raw_boxes": [UNIT, HALF, FAR],
        "proposals": [EIGHT, QUARTER, FAR],
        "detection_boxes": [UNIT],
        "detection_scores": [0.9],
        "detection_labels": [1],
        "probe_gts": [UNIT, UNIT],
        "probe_boxes": [EIGHT, HALF],
        "refined_boxes": [UNIT, HALF],
        **changes,
    }
    return localize_image(image_id, **arguments)


class TestSplitByProposals:
    PARTS = ("mean_iou_proposals", "mean_iou_gain_below_50", "mean_iou_gain_from_50")

    def test_the_parts_add_up_to_the_mean_iou_of_all_boxes(self):
        block = summarize([localized(1), localized(2, raw_boxes=[EIGHT, FAR], proposals=[HALF, UNIT])])
        assert sum(block[part] for part in self.PARTS) == pytest.approx(block["mean_iou"])
        # Five boxes: proposals .8, .25, 0, .5, 1; after them 1, .5, 0, .8, 0.
        assert [block[part] for part in self.PARTS] == pytest.approx([2.55 / 5, 0.25 / 5, (0.2 + 0.3 - 1) / 5])

    def test_by_image_they_have_the_same_sums_and_an_earlier_version_has_none(self):
        images = [localized(1), localized(2, raw_boxes=[EIGHT, FAR], proposals=[HALF, UNIT])]
        sums = image_sums([image.record() for image in images])
        for part in self.PARTS:
            total, count = sums[part]
            assert total.sum() / count.sum() == pytest.approx(summarize(images)[part])
        old = [{key: value for key, value in image.record().items() if "mean_iou" not in key} for image in images]
        assert not set(self.PARTS) & image_sums(old).keys()

    def test_each_box_has_one_proposal(self):
        with pytest.raises(DataError, match="proposals"):
            localized(proposals=[UNIT])


class TestOneImage:
    def test_the_record_holds_every_overlap(self):
        assert localized().record() == {
            "image_id": 1,
            "raw_mean": 0.5,  # 1, 1/2 and 0
            "raw_count": 3,
            "mean_iou_proposals_sum": pytest.approx(1.05),  # 4/5, 1/4 and 0
            "mean_iou_gain_below_50_sum": 0.25,
            "mean_iou_gain_from_50_sum": pytest.approx(0.2),
            "positive_sum": 1.5,
            "positive_count": 2,
            "matched_sum": 1.0,
            "matched_count": 1,
            "truths": 1,
            "best": [1.0],
            "before": [0.8, 0.5],
            "refined": [1.0, 0.5],
        }

    def test_a_raw_box_is_compared_with_the_best_truth_of_any_class(self):
        image = localized(gt_boxes=[FAR, UNIT], gt_labels=[1, 2], raw_boxes=[EIGHT], proposals=[UNIT])
        assert image.raw == pytest.approx([0.8])

    def test_raw_boxes_of_an_image_without_truth_count_as_zero(self):
        image = localized(gt_boxes=[], gt_labels=[], probe_gts=[], probe_boxes=[], refined_boxes=[])
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
            gt_boxes=[UNIT, EIGHT],
            gt_labels=[1, 1],
            detection_boxes=[UNIT, UNIT],
            detection_scores=[0.9, 0.8],
            detection_labels=[1, 1],
        )
        assert image.matched == pytest.approx([1.0, 0.8])

    def test_one_half_is_a_match_and_less_is_none(self):
        assert localized(detection_boxes=[HALF]).matched == pytest.approx([0.5])
        assert len(localized(detection_boxes=[[0, 0, 10, 4.9]]).matched) == 0

    def test_no_boxes_at_all(self):
        nothing = {
            key: [] for key in ("raw_boxes", "proposals", "detection_boxes", "detection_scores", "detection_labels")
        }
        record = localized(**nothing).record()
        assert (record["raw_mean"], record["raw_count"], record["best"]) == (None, 0, [0.0])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"gt_labels": [1, 2]}, "image 7: gt_labels"),
            ({"detection_scores": []}, "image 7: detection_scores"),
            (
                {"refined_boxes": [UNIT]},
                "image 7: .*2 and 1",
            ),
            ({"raw_boxes": [[0, 0, math.inf, 1]]}, "image 7: raw_boxes: .*finite"),
        ],
    )
    def test_arrays_that_do_not_belong_together_are_refused(self, change: dict, words: str):
        with pytest.raises(DataError, match=words):
            localized(7, **change)


class TestSummary:
    def test_the_mean_runs_over_boxes_and_not_over_images(self):
        # Three boxes (1, 1/2, 0) and one of 4/5: 2.3 / 4 over boxes, .65 would be the mean over images.
        block = summarize([localized(1), localized(2, raw_boxes=[EIGHT], proposals=[HALF])])
        assert block["mean_iou"] == pytest.approx(2.3 / 4)
        assert block["mean_iou_positive"] == pytest.approx((1 + 0.5 + 0.8) / 3)
        assert block["mean_iou_matched"] == 1.0
        assert block["refined_mean_iou"] == 0.75
        assert block["refined_above_75"] == block["refined_above_85"] == block["refined_above_90"] == 0.5
        assert block["raw_boxes"] == 4
        assert block["probe"] == {"iou": [0.5, 1.0], "per_box": 10, "seed": 0}

    def test_the_histogram_counts_every_box_once_the_perfect_one_too(self):
        histogram = summarize([localized()])["histogram"]
        assert histogram["edges"] == [round(0.05 * step, 2) for step in range(21)]
        raw = dict(zip(histogram["edges"], histogram["raw"], strict=False))
        assert {edge: count for edge, count in raw.items() if count} == {0.0: 1, 0.5: 1, 0.95: 1}
        assert sum(histogram["matched"]) == 1
        assert sum(histogram["refined"]) == 2

    def test_of_nothing_means_are_undefined_and_become_null(self, tmp_path):
        block = summarize([])
        assert all(math.isnan(block[key]) for key in block if key not in ("raw_boxes", "probe", "histogram"))
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
                gt_boxes=truths,
                gt_labels=[1] * len(truths),
                raw_boxes=raw,
                proposals=raw[::-1],
                detection_boxes=found,
                detection_scores=np.linspace(1, 0, len(found)),
                detection_labels=[1] * len(found),
                probe_gts=truths,
                probe_boxes=truths,
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


class TestImageSums:
    def test_their_ratios_are_the_means_of_the_set(self):
        images = [localized(), localized(2, raw_boxes=[UNIT, FAR], proposals=[EIGHT, FAR])]
        block = summarize(images)
        sums = image_sums([image.record() for image in images])
        assert set(sums) == {metric for metric in block if "_iou" in metric or "above" in metric}
        for metric, (total, number) in sums.items():
            assert total.sum() / number.sum() == pytest.approx(block[metric], abs=1e-15), metric

    def test_images_come_in_the_order_of_their_ids(self):
        images = [dataclasses.replace(localized(), image_id=9, raw=np.array([0.25])), localized()]
        assert image_sums([image.record() for image in images])["mean_iou"][1].tolist() == [3, 1]

    def test_entries_of_an_earlier_version_have_fewer_metrics(self):
        old = {key: value for key, value in localized().record().items() if not key.startswith(("positive", "matched"))}
        assert "mean_iou_matched" not in image_sums([old])
        assert "mean_iou" in image_sums([old])
        assert image_sums([]) == {}

    def test_a_missing_key_is_named(self):
        with pytest.raises(DataError, match="refined"):
            image_sums([{"image_id": 1, "raw_mean": 0.5, "raw_count": 2}])
