"""The registry's entries against the detectors that they build."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torchvision.models import get_weight

from smoothiou.detectors import DETECTORS, build_detector


@pytest.mark.parametrize("name", DETECTORS)
def test_an_entry_is_true_of_its_detector(name):
    info = DETECTORS[name]
    with torch.device("meta"):
        model = build_detector(name, num_classes=20, weights="none")
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    assert parameters == pytest.approx(info.parameters_m, rel=0.03)
    generator = model.rpn.anchor_generator
    assert len(generator.cell_anchors) == len(info.anchors)
    assert not info.installed or build_detector(name, num_classes=20, weights="imagenet").notes
    for weights in filter(None, ("" if info.installed else info.imagenet, info.coco)):
        assert get_weight(weights).url


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "vgg16"])
def test_anchors_have_the_registered_sides_and_strides(name):
    model = build_detector(name, num_classes=1, min_size=256, max_size=256)
    images, _ = model.transform([torch.zeros(3, 256, 256)])
    features = model.backbone.eval()(images.tensors)
    maps = [features] if isinstance(features, torch.Tensor) else list(features.values())
    model.rpn.anchor_generator(images, maps)
    for level, cell, feature in zip(
        DETECTORS[name].anchors, model.rpn.anchor_generator.cell_anchors, maps, strict=True
    ):
        torch.testing.assert_close(cell[:, 2:] - cell[:, :2], torch.tensor(level.sides))
        assert images.tensors.shape[-1] // feature.shape[-1] == level.stride


def test_the_registry_is_read_without_torch():
    code = "import sys, smoothiou.detectors.registry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
