"""Finding a loss by name, and a loss of one's own."""

from __future__ import annotations

import functools
import subprocess
import sys
import types

import pytest
import torch
from torch import nn

import smoothiou
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, load_loss, options_of


class Scaled(nn.Module):
    def __init__(self, factor: float, power: int = 1) -> None:
        super().__init__()
        self.factor, self.power = factor, power

    def forward(self, pred, target, *, weights, anchors):
        return self.factor * (pred - target).abs().pow(self.power).sum(1)


def absolute(pred, target, *, weights, anchors, factor=1.0):
    return factor * (pred - target).abs().sum(1)


def by_image(pred, target, *, weights, anchors, images, image_sizes):
    return images.sum(0) * (pred - target).abs().sum(1)


class NoLoss:
    pass


PI = 3.14


@pytest.fixture(autouse=True)
def my_losses(monkeypatch):
    """A module of the user's own, importable as `my_losses`."""
    module = types.ModuleType("my_losses")
    for thing in (Scaled, absolute, by_image, NoLoss):
        setattr(module, thing.__name__, thing)
    module.PI = PI  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_losses", module)


def call(loss):
    return loss(torch.ones(2, 4), torch.zeros(2, 4), weights=(10.0, 10.0, 5.0, 5.0), anchors=None).tolist()


def test_a_name_with_options():
    loss = load_loss("smooth-iou", delta=0.5, lam="box")
    assert isinstance(loss, SmoothIoU)
    assert (loss.delta, loss.lam) == (0.5, "box")


def test_what_the_detector_gives_is_no_option_of_a_function():
    assert load_loss("my_losses:by_image") is by_image
    with pytest.raises(ConfigError, match="images"):
        load_loss("my_losses:by_image", images=1)


def test_a_class_of_ones_own_is_made_with_the_options():
    loss = load_loss("my_losses:Scaled", factor=3)
    assert isinstance(loss, Scaled)
    assert call(loss) == [12, 12]


def test_a_function_of_ones_own_is_taken_as_it_is():
    assert load_loss("my_losses:absolute") is absolute
    loss = load_loss("my_losses:absolute", factor=2.0)
    assert isinstance(loss, functools.partial)
    assert call(loss) == [8, 8]


def test_a_class_of_ours_by_its_module():
    assert isinstance(load_loss("smoothiou.losses.huber:Huber", delta=2), LOSSES["huber"])


WRONG = [
    ("hubr", {}, 'Did you mean "huber"'),
    ("perceptual", {}, "Known: huber, smooth-l1"),
    ("huber", {"beta": 1}, "no option 'beta'"),
    ("l1", {"delta": 1}, "no options"),
    ("smooth-iou", {"lamda": 1}, "delta, lam, detach, huber_on, sync, iou_weight, memory"),
    ("huber", {"delta": -1}, "delta"),
    ("my_losses:Scaled", {"factr": 3}, "factor, power"),
    ("my_losses:Scaled", {}, "needs the option 'factor'"),
    ("my_losses:absolute", {"weights": 3}, "no option 'weights'"),
    ("my_losses:absolut", {}, 'Did you mean "absolute"'),
    ("my_losses:PI", {}, "float"),
    ("my_losses:NoLoss", {}, "__call__"),
    ("my_loses:Scaled", {}, "PYTHONPATH"),
    ("smoothiou.loses.huber:Huber", {}, "smoothiou.loses"),
    ("my_losses:", {}, "package.module:object"),
    (":Huber", {}, "package.module:object"),
]


@pytest.mark.parametrize(("name", "options", "part"), WRONG, ids=[f"{row[0]}-{row[2]}" for row in WRONG])
def test_a_mistake_is_named_with_the_way_out(name, options, part):
    with pytest.raises(ConfigError) as caught:
        load_loss(name, **options)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import surely_not_installed",
            "broken_losses imports 'surely_not_installed', which is not installed.",
        ),
        ("from math import surely_not", "broken_losses cannot be imported: cannot import name 'surely_not'"),
    ],
)
def test_a_module_that_breaks_is_not_called_missing(tmp_path, monkeypatch, source, message):
    (tmp_path / "broken_losses.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_losses", raising=False)
    with pytest.raises(ConfigError) as caught:
        load_loss("broken_losses:Loss")
    assert message in str(caught.value)


def test_the_registry_is_read_only_and_public():
    with pytest.raises(TypeError):
        LOSSES["mine"] = Scaled  # type: ignore[index]
    assert smoothiou.LOSSES is LOSSES
    assert smoothiou.SmoothIoU is SmoothIoU


def test_options_of_a_loss_with_their_defaults():
    assert options_of("huber") == {"delta": 1.0}
    assert options_of("giou") == {}
    assert options_of("ciou") == {"alpha": "aaai", "frame": "pixels"}


def test_importing_the_package_needs_no_torch():
    code = "import sys, smoothiou, smoothiou.loss_spec; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
