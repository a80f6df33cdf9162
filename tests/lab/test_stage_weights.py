"""A factor per stage: what `smoothiou calibrate` proposes must be settable, and change nothing where it is 1."""

from __future__ import annotations

import pytest
import torch

from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build
from smoothiou.engine.identity import cell_hash, identity
from smoothiou.engine.run_folder import prepare_folder
from smoothiou.errors import ConfigError
from smoothiou.files import write_json

DATA = {"train": {"fingerprint": "aaaa1111"}, "val": None, "test": {"fingerprint": "3c1f9a2b"}}


def config_of(**changes) -> RunConfig:
    return RunConfig().replace({key.replace("__", "."): value for key, value in changes.items()})


def test_each_stage_gets_its_own_factor_on_top_of_the_common_one():
    model = build(config_of(loss__name="l1", loss__weight=2.0, loss__rpn_weight=3.0, loss__roi_weight=0.5), classes=2)
    assert (model.rpn.box_loss.weight, model.roi_heads.box_loss.weight) == (6.0, 1.0)
    assert model.rpn.box_loss.name == model.roi_heads.box_loss.name == "l1"
    assert model.rpn.box_loss.loss is not model.roi_heads.box_loss.loss


def test_a_stage_that_keeps_torchvisions_loss_keeps_its_weight_too():
    model = build(config_of(loss__stages=("roi",), loss__rpn_weight=3.0, loss__roi_weight=5.0), classes=2)
    assert (model.rpn.box_loss.weight, model.roi_heads.box_loss.weight) == (1.0, 5.0)
    assert model.rpn.box_loss.name == "torchvision_smooth_l1"


def test_the_factors_multiply_the_losses_of_training_and_nothing_else():
    torch.manual_seed(0)
    image = torch.rand(3, 64, 64)
    target = {"boxes": torch.tensor([[4.0, 6, 40, 50], [20, 10, 60, 60]]), "labels": torch.tensor([1, 2])}
    found = []
    for rpn, roi in ((1.0, 1.0), (4.0, 0.5)):
        torch.manual_seed(1)
        sizes = {"model__min_size": 64, "model__max_size": 64}
        model = build(config_of(loss__rpn_weight=rpn, loss__roi_weight=roi, **sizes), classes=2).train()
        torch.manual_seed(2)
        found.append({key: float(value.detach()) for key, value in model([image], [target]).items()})
    first, second = found
    assert second["loss_rpn_box_reg"] == pytest.approx(4 * first["loss_rpn_box_reg"], rel=1e-6)
    assert second["loss_box_reg"] == pytest.approx(0.5 * first["loss_box_reg"], rel=1e-6)
    assert second["loss_classifier"] == first["loss_classifier"]
    assert second["loss_objectness"] == first["loss_objectness"]


def test_two_losses_are_of_the_first_and_of_the_second_stage():
    model = build(config_of(loss__name="huber[delta=0.5]/smooth-iou", loss__roi_weight=3.0), classes=2)
    assert (model.rpn.box_loss.name, model.roi_heads.box_loss.name) == ("huber[delta=0.5]", "smooth-iou")
    assert (model.rpn.box_loss.weight, model.roi_heads.box_loss.weight) == (1.0, 3.0)


@pytest.mark.parametrize("key", ["loss.rpn_weight", "loss.roi_weight"])
def test_a_factor_must_be_above_0(key: str):
    with pytest.raises(ConfigError, match=key):
        RunConfig().replace({key: "0"})


def test_a_run_from_before_the_factors_is_still_the_same_run(tmp_path):
    before = {key: value for key, value in config_of().flat().items() if not key.endswith(("rpn_weight", "roi_weight"))}
    assert cell_hash(config_of().flat(), DATA) == cell_hash(before, DATA)
    # As written by the version before them. A new setting changes it unless `UNSAID` of study/plan.py names it.
    assert cell_hash(config_of().flat(), DATA) == "afe9c421a612"
    other = config_of(loss__roi_weight=5.0)
    assert cell_hash(other.flat(), DATA) != cell_hash(before, DATA)
    write_json(tmp_path / "manifest.json", {"identity": identity(before, DATA)})
    assert prepare_folder(tmp_path, config_of(), identity(config_of().flat(), DATA), overwrite=False) is None
    with pytest.raises(ConfigError, match="loss.roi_weight"):
        prepare_folder(tmp_path, other, identity(other.flat(), DATA), overwrite=False)
