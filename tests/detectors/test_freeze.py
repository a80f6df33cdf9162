"""Layers that keep their weights: which they are, and that training moves nothing of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from smoothiou.detectors import DETECTORS, build_detector
from smoothiou.detectors.freeze import HeldStatistics, freeze_layers
from smoothiou.engine.devices import Placement
from smoothiou.engine.distributed import distribute
from smoothiou.errors import ConfigError


def frozen(model) -> set[str]:
    return {key for key, value in model.named_parameters() if not value.requires_grad}


def test_training_moves_neither_weights_nor_statistics_of_frozen_layers(stock, batch):
    freeze_layers(stock, "3", stem="1")
    stock.train()  # as the loop does after each evaluation
    before = copy.deepcopy(stock.state_dict())
    optimizer = torch.optim.SGD(stock.parameters(), lr=0.01)
    sum(stock(*batch).values()).backward()
    optimizer.step()
    moved = {key for key, value in stock.state_dict().items() if not torch.equal(value, before[key])}
    kept = ("backbone.0.", "backbone.1.", "backbone.3.")
    assert not [key for key in moved if key.startswith(kept)]
    assert {"backbone.4.body.0.weight", "backbone.4.body.1.running_mean", "rpn.head.cls_logits.weight"} <= moved


def test_a_word_freezes_all_layers_up_to_its_own(stock):
    counts = []
    for word in ("none", "stem", "4", "backbone"):
        freeze_layers(stock, word, stem="1")
        counts.append(len(frozen(stock)))
        assert all(key.startswith("backbone.") for key in frozen(stock))
    assert counts[0] == 0
    assert frozen(stock) == {key for key, _ in stock.named_parameters() if key.startswith("backbone.")}
    assert counts == sorted(set(counts))


def test_a_pyramid_is_trained_on_a_frozen_backbone():
    model = build_detector("resnet18-fpn", num_classes=2, freeze="backbone")
    assert frozen(model) == {key for key, _ in model.named_parameters() if key.startswith("backbone.body.")}


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "vgg16"])
def test_every_detector_has_a_stem(name):
    model = build_detector(name, num_classes=2, freeze="stem")
    layers = {key.split(".")[2 if ".body." in key else 1] for key in frozen(model)}
    assert DETECTORS[name].stem in layers | {""}
    assert 0 < len(frozen(model)) < 20


def test_left_alone_a_detector_freezes_what_it_always_did():
    assert not frozen(build_detector("resnet18-fpn", num_classes=2))
    from smoothiou.detectors.fpn import build_resnet_fpn

    pretrained = frozen(build_resnet_fpn(backbone_name="resnet18", num_classes=3, pretrained=True))
    assert {key.split(".")[2] for key in pretrained} == {"conv1", "layer1"}


def test_an_unknown_word_is_refused_with_the_known_ones(stock):
    with pytest.raises(ConfigError, match="model.freeze: .*none, stem, backbone, 0, 1, 3, .*'stemm'") as error:
        freeze_layers(stock, "stemm", stem="1")
    assert "stem" in error.value.hint


@pytest.mark.parametrize("word", ["stem", "backbone"])
def test_a_detector_with_frozen_layers_can_be_pickled(word):
    model = build_detector("nano", num_classes=2, freeze=word)
    again = pickle.loads(pickle.dumps(model)).train()
    assert [type(module) for module in again.modules()] == [type(module) for module in model.modules()]
    assert not again.backbone[1].training


def test_frozen_norms_are_not_synchronised_between_processes(stock, monkeypatch):
    monkeypatch.setattr("smoothiou.engine.distributed.DistributedDataParallel", lambda model: model)
    freeze_layers(stock, "stem", stem="1")
    model = distribute(stock, Placement(torch.device("cuda"), "fp32", "", rank=0, world_size=2)).train()
    assert isinstance(model.backbone[1], HeldStatistics)
    assert not model.backbone[1].training
    assert isinstance(model.backbone[4].body[1], nn.SyncBatchNorm)
