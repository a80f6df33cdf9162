"""The syntax of losses: options in brackets, one for each stage, several by commas."""

from __future__ import annotations

import pytest

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import parse_loss, split_losses, stage_losses


def test_losses_are_split_at_commas_outside_brackets():
    assert split_losses("huber, smooth-iou[lam=box,delta=2],my.module:loss") == (
        "huber", "smooth-iou[lam=box,delta=2]", "my.module:loss",
    )  # fmt: skip
    assert parse_loss("smooth-iou[lam=box,delta=2,detach=false]") == (
        "smooth-iou", {"lam": "box", "delta": 2, "detach": False},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="huber"):
        split_losses("huber,iou,huber")


def test_a_loss_for_each_stage():
    assert stage_losses("huber") == {"rpn": "huber", "roi": "huber"}
    assert stage_losses("huber / smooth-iou[lam=box]") == {"rpn": "huber", "roi": "smooth-iou[lam=box]"}
    assert split_losses("huber,huber/smooth-iou[lam=box,delta=2]") == ("huber", "huber/smooth-iou[lam=box,delta=2]")
    with pytest.raises(ConfigError, match="FIRST/SECOND"):
        stage_losses("huber/iou/giou")
    with pytest.raises(ConfigError, match="names no loss"):
        RunConfig().replace({"loss.name": "huber/"})
