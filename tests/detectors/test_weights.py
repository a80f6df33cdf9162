"""Weights from files and downloads: what fits is loaded, what does not is named, nothing is half-loaded."""

from __future__ import annotations

import copy
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.detectors import build_detector
from smoothiou.detectors import pretrained as weights
from smoothiou.errors import CheckpointError
from tests.detectors.hosts import same


@pytest.fixture
def trained():
    """A detector whose weights differ from those of a new one."""
    torch.manual_seed(1)
    return build_detector("nano", num_classes=2)


@pytest.mark.parametrize("wrapped", [True, False], ids=["our checkpoint", "bare state dict"])
def test_a_checkpoint_comes_back(trained, tmp_path, wrapped):
    path = tmp_path / "best.ckpt"
    state = trained.state_dict()
    torch.save({"model": state, "step": 3} if wrapped else state, path)
    torch.manual_seed(2)
    for given in (path, str(path)):
        assert same(build_detector("nano", num_classes=2, weights=given).state_dict(), state)


def broken_files(folder, state):
    torch.save({"model": state}, folder / "whole")
    content = (folder / "whole").read_bytes()
    (folder / "cut").write_bytes(content[: len(content) // 2])
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("not a checkpoint")
    torch.save({"model": nn.Linear(1, 1)}, folder / "object")
    torch.save([1, 2], folder / "list")
    torch.save({"model": {"lr": 0.1}}, folder / "numbers")
    return ("cut", "empty", "text", "object", "list", "numbers", "missing", ".")


def test_files_that_are_no_checkpoints_are_refused_in_one_sentence(trained, tmp_path):
    for name in broken_files(tmp_path, trained.state_dict()):
        with pytest.raises(CheckpointError) as error:
            build_detector("nano", num_classes=2, weights=tmp_path / name)
        assert str(tmp_path / name) in error.value.message
        assert "\n" not in str(error.value)


def test_a_misfit_is_named_and_nothing_is_half_loaded(trained):
    good = trained.state_dict()
    first = next(iter(good))
    changes = {
        "missing": ({key: value for key, value in good.items() if key != first}, first),
        "unexpected": ({**good, "extra.weight": torch.zeros(1)}, "extra.weight"),
        "of another shape": ({**good, first: torch.zeros(5)}, first),
    }
    torch.manual_seed(5)
    model = build_detector("nano", num_classes=2)
    before = copy.deepcopy(model.state_dict())
    for what, (state, key) in changes.items():
        with pytest.raises(CheckpointError, match=f"run/best.ckpt .*{what} {key}"):
            weights.load_checkpoint(model, state, source="run/best.ckpt")
        assert same(model.state_dict(), before)


def test_another_number_of_classes_is_said_so(trained, tmp_path):
    torch.save({"model": trained.state_dict()}, tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="2 classes.* 5"):
        build_detector("nano", num_classes=5, weights=tmp_path / "best.ckpt")


def test_another_detector_is_said_so(trained, tmp_path):
    torch.save({"model": trained.state_dict()}, tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="missing .*unexpected"):
        build_detector("resnet18-fpn", num_classes=2, weights=tmp_path / "best.ckpt")


def pretend_download(monkeypatch, state):
    monkeypatch.setattr(weights, "fetch", lambda enum: state)


def test_coco_weights_are_not_forced_into_a_cascade(monkeypatch):
    pretend_download(monkeypatch, {})
    with pytest.raises(CheckpointError, match="one second stage"):
        build_detector("mobilenet-v3-fpn", num_classes=2, weights="coco", cascade=2)


def test_imagenet_weights_fill_the_backbone_and_freeze_its_norms(monkeypatch, tmp_path):
    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    pretend_download(monkeypatch, state)
    model = build_detector("resnet18-fpn", num_classes=2, weights="imagenet")
    body = model.backbone.body.state_dict()
    assert len(body) > 50
    assert all(torch.equal(value, state[key]) for key, value in body.items())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    assert not model.backbone.body.conv1.weight.requires_grad
    assert "backbone loaded" in model.notes[0]
    # A run that started from them is evaluated from its own checkpoint, without the download.
    torch.save({"model": model.state_dict()}, tmp_path / "best.ckpt")
    pretend_download(monkeypatch, None)
    again = build_detector("resnet18-fpn", num_classes=2, weights=tmp_path / "best.ckpt")
    assert same(again.state_dict(), model.state_dict())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in again.modules())


def test_coco_weights_keep_their_last_layer_only_for_the_same_classes(monkeypatch):
    torch.manual_seed(3)
    state = build_detector("mobilenet-v3-fpn", num_classes=90).state_dict()
    pretend_download(monkeypatch, state)
    other = build_detector("mobilenet-v3-fpn", num_classes=3, weights="coco")
    assert "3 classes, not 90" in other.notes[0]
    key = "roi_heads.box_head.fc6.weight"
    assert torch.equal(other.state_dict()[key], state[key])
    full = build_detector("mobilenet-v3-fpn", num_classes=90, weights="coco")
    assert full.notes[0].endswith("loaded.")
    assert all(torch.equal(value, state[key]) for key, value in full.state_dict().items())


def test_zero_epsilon_is_absorbed_into_the_variances():
    # torchvision's COCO weights of resnet50 want eps = 0, which a state dict cannot say.
    torch.manual_seed(0)
    norm = FrozenBatchNorm2d(64)
    norm.running_var.uniform_(1e-4, 2)
    norm.weight.normal_()
    x = torch.randn(2, 64, 3, 3)
    wanted = FrozenBatchNorm2d(64, eps=0.0)
    wanted.load_state_dict(norm.state_dict())
    weights.absorb_zero_eps(norm)
    torch.testing.assert_close(norm(x), wanted(x), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(norm.running_var, wanted.running_var, atol=1e-6, rtol=0)


def test_offline_is_one_sentence_with_the_path_where_the_file_belongs(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as error:
        build_detector("resnet18-fpn", num_classes=2, weights="imagenet")
    expected = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert str(expected) in error.value.message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in error.value.message
    assert 'weights "none"' in error.value.hint
    expected.write_bytes(b"half a download")
    with pytest.raises(CheckpointError, match="damaged"):
        build_detector("resnet18-fpn", num_classes=2, weights="imagenet")


def test_nothing_is_downloaded_unless_asked_for(monkeypatch):
    downloads = []
    for way in ("load_state_dict_from_url", "download_url_to_file"):
        monkeypatch.setattr(torch.hub, way, lambda *arguments, **_: downloads.append(arguments))
    for name in ("nano", "resnet18-fpn", "mobilenet-v3-fpn"):
        build_detector(name, num_classes=2)
    assert downloads == []
