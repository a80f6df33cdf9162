"""Each mistake in a call of a loss is named, with what was expected and what was given."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, load_loss
from tests.losses.cases import INFO, OVERLAP, box_pair, each_loss, function

OPTIONS = {
    ("huber", "delta"): [0, -1.0, math.nan, math.inf, "1", True],
    ("smooth-l1", "beta"): [0, -1.0, math.nan, None],
    ("balanced-l1", "alpha"): [0, -0.5, math.nan],
    ("balanced-l1", "gamma"): [0, math.inf],
    ("alpha-iou", "alpha"): [0, 0.5, math.nan, math.inf, "3"],
    ("bounded-iou", "beta"): [0, -1.0, math.nan],
    ("extended-iou", "smooth_point"): [0, -1.0, math.nan],
    ("ciou", "alpha"): ["AAAI", "", None],
    ("efficient-iou", "gamma"): [-0.5, math.nan, math.inf, "1"],
    ("powerful-iou", "version"): [0, 3, True, None],
    ("powerful-iou", "hyper"): [0, -1.0, math.nan],
    ("shape-iou", "scale"): [-1.0, math.nan, math.inf],
    ("mpdiou", "side"): [0, -640, math.nan],
    ("interp-iou", "alpha"): [0, 1, 1.5, math.nan, "static"],
    ("inner-iou", "ratio"): [0, -1.0, math.inf],
    ("inner-iou", "of"): ["huber", "", None],
    ("focaler-iou", "low"): [-0.1, 1.1, math.nan],
    ("focaler-iou", "high"): [-0.1, 1.1, 0],
    ("focaler-iou", "of"): ["l1"],
    ("nwd", "constant"): [0, -12.8, math.nan],
    ("l1-giou", "l1_weight"): [0, -5.0, math.nan],
    ("l1-giou", "giou_weight"): [0, math.inf],
    ("mix", "delta"): [0, -1.0],
    ("mix", "lam"): [-0.1, 1.1, math.nan, "batch", True, None],
    ("smooth-iou", "delta"): [0, -1.0],
    ("smooth-iou", "lam"): [-0.1, 1.1, math.nan, "bach", None],
}


class TestMistakes:
    """Each is named, with what was expected and what was given."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [((3, 4), (2, 4)), ((4,), (4,)), ((3, 5), (3, 5)), ((1, 3, 4), (1, 3, 4)), ((3, 4), (1, 4))],
    )
    @each_loss
    def test_shapes(self, name, first, second):
        self.refused(name, torch.zeros(first), torch.zeros(second), "shape")

    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
    @each_loss
    def test_whole_numbers(self, name, dtype):
        whole, real = torch.zeros(2, 4, dtype=dtype), torch.zeros(2, 4)
        for pred, target in ((whole, real), (real, whole), (whole, whole)):
            self.refused(name, pred, target, r"boxes\.float")

    def refused(self, name: str, pred: Tensor, target: Tensor, noun: str) -> None:
        for loss in (function(name), LOSSES[name]().on_boxes, LOSSES[name]()):
            with pytest.raises(ConfigError, match=noun):
                loss(pred, target)

    @pytest.mark.parametrize("name", [name for name in OVERLAP if INFO[name].frame != "any"])
    def test_anchors(self, name):
        with pytest.raises(ConfigError, match="anchors"):
            LOSSES[name]()(torch.zeros(3, 4), torch.zeros(3, 4), anchors=torch.zeros(2, 4))

    @pytest.mark.parametrize("wrong", ["avg", "Mean", "", None])
    @each_loss
    def test_reductions(self, name, wrong):
        with pytest.raises(ConfigError, match="reduction"):
            function(name)(*box_pair(2), reduction=wrong)

    @pytest.mark.parametrize(
        ("name", "option", "wrong"), [(*which, value) for which, values in OPTIONS.items() for value in values]
    )
    def test_options(self, name, option, wrong):
        for make in (lambda **o: function(name)(*box_pair(2), **o), lambda **o: load_loss(name, **o)):
            with pytest.raises(ConfigError, match=f"^{option}: .*{wrong!r}"):
                make(**{option: wrong})
