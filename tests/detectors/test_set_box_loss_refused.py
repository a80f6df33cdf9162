"""Models, stages, losses and numbers that cannot be trained with are refused, with what was expected."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from smoothiou.detectors import (
    set_box_loss,
)
from smoothiou.errors import ConfigError, DataError


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("stage", ["rpn", "roi"])
def test_non_finite_predictions_are_never_hidden(stock, batch, bad, stage):
    # Decoding clamps dw and dh, so an infinite delta has a finite IoU; the loss must tell all the same.
    model = set_box_loss(stock, "iou")
    layer = model.rpn.head.bbox_pred if stage == "rpn" else model.roi_heads.box_predictor.bbox_pred
    with torch.no_grad():
        layer.bias.fill_(bad)
    losses = model(*batch)
    assert not losses["loss_rpn_box_reg" if stage == "rpn" else "loss_box_reg"].isfinite()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_target_boxes_are_named(stock, batch, bad):
    images, targets = batch
    targets[1]["boxes"][1, 2] = bad
    with pytest.raises(DataError, match=r"targets\[1\]\['boxes'\]\[1\]"):
        set_box_loss(stock, "huber")(images, targets)


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="Linear"):
        set_box_loss(nn.Linear(1, 1), "huber")


def test_a_stage_with_training_code_of_its_own_is_refused(stock):
    class OtherRPN(type(stock.rpn)):
        pass

    stock.rpn.__class__ = OtherRPN
    with pytest.raises(ConfigError, match="OtherRPN"):
        set_box_loss(stock, "huber")
    assert type(stock.roi_heads).__name__ == "RoIHeads", "half of the model was changed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "hubber"}, "huber"),
        ({"loss": "huber[delta=0.5"}, "huber"),
        ({"loss": 3}, "callable"),
        ({"loss": nn.Linear(4, 1)}, "trainable"),
        ({"loss": "huber", "stages": ("rnp",)}, 'mean "rpn"'),
        ({"loss": "huber", "stages": ()}, "stages"),
        ({"loss": "huber", "weight": 0}, "weight"),
        ({"loss": "huber", "weight": float("nan")}, "weight"),
    ],
)
def test_wrong_arguments_are_explained_and_change_nothing(stock, arguments, message):
    with pytest.raises(ConfigError, match=message):
        set_box_loss(stock, arguments.pop("loss"), **arguments)
    assert type(stock.rpn).__name__ == "RegionProposalNetwork"


def test_a_reduced_loss_is_refused(stock, batch):
    def reduced(pred_deltas, target_deltas, *, weights, anchors):
        return F.l1_loss(pred_deltas, target_deltas)

    with pytest.raises(ConfigError, match="box loss reduced"):
        set_box_loss(stock, reduced)(*batch)
