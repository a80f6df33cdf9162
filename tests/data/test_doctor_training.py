"""Checks that depend on how is trained: the batch, the anchors and the resolution."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.data.doctor_sets import TRAINING, annotate, boxes_of, first, look, voc


def test_few_boxes_in_a_batch_make_lambda_jump(tmp_path):
    root = voc(tmp_path / "voc")
    assert not look(root).finding("few-boxes")
    small = dataclasses.replace(TRAINING, batch_size=2)
    found = first(look(root, training=small), "few-boxes")
    assert found == (1, "train", "2.00 boxes per image make 4.0 in a batch of 2 images")


def test_boxes_that_no_anchor_covers_are_counted(tmp_path):
    root = voc(tmp_path / "voc")
    for number in range(9):
        annotate(root, f"{number:03d}", [("cat", (1, 1, 98, 6)), ("dog", (17, 17, 48, 48))])
    count, _, message = first(look(root), "anchor-coverage")
    assert count == 9
    assert message.startswith("its best anchor has an IoU of 0.")
    assert look(root).as_json()["training"]["anchor_coverage"]["0.5"] == 0.5


def test_the_constant_of_nwd_is_the_mean_size_when_trained(tmp_path):
    root = voc(tmp_path / "voc")  # 80 x 100 pixels, boxes of 32 x 32
    half = dataclasses.replace(TRAINING, min_size=40, max_size=50)
    assert look(root, training=half).as_json()["training"]["nwd_constant"] == pytest.approx(16)
    for number in range(9):
        annotate(root, f"{number:03d}", [("cat", (1, 1, 21, 6)), ("dog", (17, 17, 48, 48))])
    # 21 x 6 has the size 11.2, so the mean is 21.6, and half of it at half the resolution.
    size = (math.sqrt(21 * 6) + 32) / 2
    assert look(root, training=half).as_json()["training"]["nwd_constant"] == pytest.approx(size / 2)


def test_tiny_is_a_matter_of_the_resolution(tmp_path):
    root = voc(tmp_path / "voc")
    annotate(root, "002", [("cat", (20, 30, 25, 35)), *boxes_of(2)])
    assert not look(root).finding("tiny-box")
    half = dataclasses.replace(TRAINING, min_size=40, max_size=50)
    assert first(look(root, training=half), "tiny-box")[2] == "is 6 x 6 pixels, 3 x 3 when trained"
