"""The warm start: installed ImageNet weights, loaded as they were meant."""

from __future__ import annotations

import pytest
import timm
import torch

from smoothiou.detectors import build_detector, lite0
from smoothiou.detectors.lite0 import Lite0Backbone, installed_weights, name_weights
from smoothiou.errors import CheckpointError


def test_logits_are_those_of_the_model_class_that_the_weights_were_made_for():
    efficientnet = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = efficientnet.EfficientNet.from_name("efficientnet-lite0").eval()
    ours = timm.create_model("tf_efficientnet_lite0").eval()
    weights = installed_weights()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights, strict=True)))
    ours.load_state_dict(name_weights(weights, list(ours.state_dict())))
    body = Lite0Backbone(pretrained=True)
    body.load_imagenet()
    images = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = theirs(images)
        assert (ours(images) - expected).abs().max() <= 1e-4
        coarsest = body.body(images)[-1]  # the same layers, by stage
        assert (ours.forward_head(ours.bn2(ours.conv_head(coarsest))) - expected).abs().max() <= 1e-4


def test_it_starts_from_imagenet_unless_asked_otherwise():
    warm, told = (build_detector("lite0", num_classes=2, weights=weights) for weights in (None, "imagenet"))
    random = build_detector("lite0", num_classes=2, weights="none")
    first = [model.backbone.body.stem[0].weight for model in (warm, told, random)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert "ImageNet" in warm.notes[0]
    assert random.notes == ()


def test_batch_norms_and_first_layers_keep_their_weights_in_training():
    model = build_detector("lite0", num_classes=1, min_size=64, max_size=64).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    sum(model([torch.rand(3, 64, 64)], [target]).values()).backward()
    optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("backbone.body.stage3") for key in moved)
    frozen = tuple(f"backbone.body.{layer}." for layer in lite0.FROZEN)
    assert not [key for key in moved if "running" in key or key.startswith(frozen)]


def test_a_damaged_or_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lite0, "SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="checksum"):
        build_detector("lite0", num_classes=1)
    monkeypatch.setattr(lite0, "PACKAGE", "no_such_package")
    with pytest.raises(CheckpointError, match="not installed"):
        build_detector("lite0", num_classes=1)
