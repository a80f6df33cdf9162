"""Any backbone of timm, and detectors of one's own."""

from __future__ import annotations

import sys

import pytest
import timm
import torch
from torchvision.models.detection import FasterRCNN

from smoothiou.detectors import build_detector
from smoothiou.detectors.timm_fpn import TimmBackbone
from smoothiou.errors import CheckpointError, ConfigError


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_backbone_of_timm_trains_and_detects(name):
    model = build_detector(f"timm:{name}", num_classes=2, min_size=64, max_size=96)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    losses = model.train()([torch.rand(3, 64, 80)], [target])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    assert set(model.eval()([torch.rand(3, 64, 80)])[0]) == {"boxes", "labels", "scores"}


def test_images_are_normalised_as_the_weights_want_it():
    model = build_detector("timm:tf_efficientnet_lite0", num_classes=1)
    assert model.transform.image_mean == [0.5, 0.5, 0.5]


def test_weights_of_timms_own_classifier_are_taken_over(tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    model = build_detector("timm:resnet18", num_classes=1, classes=["cat"], weights=tmp_path / "resnet18.pth")
    assert torch.equal(model.backbone.body["layer4"][1].conv2.weight, state["layer4.1.conv2.weight"])
    assert "backbone taken over" in model.notes[0]


def test_weights_come_from_timm_when_asked_for_only(monkeypatch):
    create = timm.create_model

    def without_network(name, *, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    assert build_detector("timm:resnet18", num_classes=1).notes == ()
    with pytest.raises(CheckpointError, match="no network"):
        build_detector("timm:resnet18", num_classes=1, weights="imagenet")


def test_maps_in_channels_last_are_turned_though_they_are_as_high_as_deep():
    backbone = TimmBackbone("mambaout_femto", pretrained=False).eval()
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, 192, 320))  # the first map: 48 x 80, with 48 channels
    assert [tuple(each.shape[2:]) for each in maps.values()] == [(48, 80), (24, 40), (12, 20), (6, 10), (3, 5)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet81", 'mean "timm:resnet'),
        ("timm:vit_tiny_patch16_224", "strides"),
        ("timm:swin_tiny_patch4_window7_224", "any size"),
        ("resnet-18", "resnet18-fpn"),
        ("json:nothing", "no 'nothing'"),
        ("no_such_module:build", "no module"),
        ("json:loads", "num_classes"),
        ("collections:OrderedDict", "FasterRCNN"),
    ],
)
def test_what_gives_no_detector_is_refused_with_a_reason(name, message):
    with pytest.raises(ConfigError, match=message):
        build_detector(name, num_classes=1)


def test_a_detector_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_detectors.py").write_text(
        "from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn as fpn\n"
        "def build(*, num_classes, pretrained, **settings):\n"
        "    return fpn(weights=None, weights_backbone=None, num_classes=num_classes, **settings)\n"
        "def nothing(**settings):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(build_detector("my_detectors:build", num_classes=2), FasterRCNN)
    with pytest.raises(ConfigError, match="NoneType"):
        build_detector("my_detectors:nothing", num_classes=2)
    sys.modules.pop("my_detectors")
