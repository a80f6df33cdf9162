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
from smoothiou.losses import LOSSES, SmoothIoU, load_loss


class Scaled(nn.Module):
    def __init__(self, factor: float, power: int = 1) -> None:
        super().__init__()
        self.factor, self.power = factor, power

    def forward(self, pred, target, *, weights, anchors):
        return self.factor * (pred - target).abs().pow(self.power).sum(1)


def absolute(pred, target, *, weights, anchors, factor=1.0):
    return factor * (pred - target).abs().sum(1)


class NoLoss:
    pass


PI = 3.14


@pytest.fixture(autouse=True)
def my_losses(monkeypatch):
    """A module of the user's own, importable as `my_losses`."""
    module = types.ModuleType("my_losses")
    for thing in (Scaled, absolute, NoLoss):
        setattr(module, thing.__name__, thing)
    module.PI = PI  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_losses", module)


def call(loss):
    return loss(torch.ones(2, 4), torch.zeros(2, 4), weights=(10.0, 10.0, 5.0, 5.0), anchors=None).tolist()


def test_a_name_with_options():
    loss = load_loss("smooth-iou", delta=0.5, lam="box")
    assert isinstance(loss, SmoothIoU)
    assert (loss.delta, loss.lam) == (0.5, "box")


def test_a_class_of_ones_own_is_made_with_the_options():
    loss = load_loss("my_losses:Scaled", factor=3)
    assert isinstance(loss, Scaled)
    assert call(loss) == [12, 12]


def test_a_function_of_ones_own_is_taken_as_it_is():
    assert load_loss("my_losses:absolute") is absolute
    loss = load_loss("my_losses:absolute", factor=2.0)
    assert isinstance(loss, functools.partial)
    assert call(loss) == [8, 8]


def test_a_class_of_ours_by_its_place():
    assert isinstance(load_loss("smoothiou.losses.huber:Huber", delta=2), LOSSES["huber"])


WRONG = [
    ("hubr", {}, "No loss is called 'hubr'. Did you mean \"huber\"?"),
    ("perceptual", {}, "Known: huber, smooth-l1, l1, l2, balanced-l1, iou, iou-log,"),
    ("huber", {"beta": 1}, "The loss huber has no option 'beta'. Its options: delta."),
    ("l1", {"delta": 1}, "The loss l1 has no option 'delta'. It has no options."),
    ("smooth-iou", {"lamda": 1}, "Its options: delta, lam, detach, huber_on, sync, iou_weight, memory."),
    ("huber", {"delta": -1}, "delta: expected a number above 0, got -1"),
    ("my_losses:Scaled", {"factr": 3}, "has no option 'factr'. Its options: factor, power."),
    ("my_losses:Scaled", {}, "needs the option 'factor'. Its options: factor, power."),
    ("my_losses:absolute", {"weights": 3}, "has no option 'weights'. Its options: factor."),
    ("my_losses:absolut", {}, "has no 'absolut'. Did you mean \"absolute\"?"),
    ("my_losses:PI", {}, "my_losses:PI is float, expected a class or a function."),
    ("my_losses:NoLoss", {}, "its objects cannot be called. Give the class a __call__ method."),
    (
        "my_loses:Scaled",
        {},
        "there is no module 'my_loses'. Check the spelling, and put the folder that holds it on PYTHONPATH.",
    ),
    ("smoothiou.loses.huber:Huber", {}, "there is no module 'smoothiou.loses'."),
    ("my_losses:", {}, "names no object. Write package.module:object."),
    (":Huber", {}, "names no object. Write package.module:object."),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG, ids=[row[2][:50] for row in WRONG])
def test_a_mistake_is_named_with_the_way_out(name, options, message):
    with pytest.raises(ConfigError) as caught:
        load_loss(name, **options)
    assert message in str(caught.value)


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


def test_the_shelf_cannot_be_changed():
    with pytest.raises(TypeError):
        LOSSES["mine"] = Scaled  # type: ignore[index]


def test_the_catalogue_and_the_package_need_no_torch():
    code = "import sys, smoothiou, smoothiou.losses.catalogue; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_the_ones_in_their_rooms():
    assert smoothiou.LOSSES is LOSSES
    assert smoothiou.SmoothIoU is SmoothIoU
    assert set(smoothiou.__all__) <= set(dir(smoothiou))
    with pytest.raises(AttributeError, match="no attribute 'smooth_iou_los'"):
        smoothiou.smooth_iou_los  # noqa: B018
