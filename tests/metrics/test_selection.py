"""Selection of detections: NMS by IoU and by DIoU, soft NMS, box fusion; answers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from smoothiou.metrics.selection import SELECTIONS, select

# Two boxes of 10 x 10 that overlap by half: intersection 50, union 150, IoU 1/3; and one far off.
BOXES = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [100, 100, 110, 110]])
SCORES = np.array([0.9, 0.6, 0.3])
ONE_CLASS = np.array([1, 1, 1])


def chosen(by, *, iou=0.3, score=0.0, limit=100, labels=ONE_CLASS):
    return select(BOXES, SCORES, labels, by=by, iou=iou, score=score, limit=limit)


def test_hard_leaves_out_what_overlaps_a_better_box():
    boxes, scores, labels = chosen("hard")
    assert scores.tolist() == [0.9, 0.3]
    assert boxes.tolist() == BOXES[[0, 2]].tolist()
    assert labels.tolist() == [1, 1]
    assert len(chosen("hard", iou=0.34)[1]) == 3


def test_soft_lowers_the_score_by_the_overlap():
    _, scores, _ = chosen("soft")
    assert scores.tolist() == pytest.approx([0.9, 0.6 * math.exp(-((1 / 3) ** 2) / 0.5), 0.3])


def test_diou_keeps_a_box_whose_centre_is_far():
    # Centres 5 apart, enclosing box 15 x 10: DIoU = 1/3 - 25 / 325 = .256.
    assert len(chosen("diou", iou=0.25)[1]) == 2
    assert len(chosen("diou", iou=0.26)[1]) == 3
    assert len(chosen("hard", iou=0.26)[1]) == 2


def test_fusion_averages_by_score():
    boxes, scores, _ = chosen("wbf")
    assert scores.tolist() == pytest.approx([0.75, 0.3])  # the mean of .9 and .6
    assert boxes[0].tolist() == pytest.approx([5 * 0.6 / 1.5, 0, 10 + 5 * 0.6 / 1.5, 10])


@pytest.mark.parametrize("by", SELECTIONS)
def test_classes_are_selected_by_themselves_and_the_best_are_kept(by):
    boxes, scores, labels = chosen(by, labels=np.array([1, 2, 1]), iou=0.1)
    assert labels.tolist() == [1, 2, 1]
    assert scores.tolist() == SCORES.tolist()
    assert len(chosen(by, limit=1)[1]) == 1
    assert all(score >= 0.5 for score in chosen(by, score=0.5)[1])
    nothing = select(boxes[:0], scores[:0], labels[:0], by=by, iou=0.5, score=0.0, limit=9)
    assert [part.shape for part in nothing] == [(0, 4), (0,), (0,)]


@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
@settings(max_examples=30, deadline=None)
def test_hard_is_torchvisions(seed, iou):
    random = np.random.default_rng(seed)
    corner = random.random((40, 2)) * 50
    boxes = np.concatenate((corner, corner + 5 + random.random((40, 2)) * 30), 1)
    scores, labels = random.random(40), random.integers(1, 4, 40)
    kept = batched_nms(*(torch.from_numpy(array) for array in (boxes, scores, labels)), iou)
    found = select(boxes, scores, labels, by="hard", iou=iou, score=0.0, limit=100)
    assert np.array_equal(found[0], boxes[kept.numpy()])
    assert np.array_equal(found[2], labels[kept.numpy()])
