"""A run that is stopped and continued is the run that was never stopped."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from smoothiou.engine.checkpoint import load_checkpoint, save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.train import run
from smoothiou.errors import InterruptedRun

from .stopping import signal_in_step

SETTINGS = {
    "data.path": "shapes", "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
    "train.steps": 4, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
}  # fmt: skip


def noisy(pred, target, *, weights, anchors):
    """A loss of one's own that draws from every generator there is."""
    noise = random.random() + np.random.rand() + torch.rand(len(pred))
    return (pred - target).abs().sum(1) * noise


@pytest.mark.parametrize(
    ("loss", "others"),
    [
        ("huber", {"optim.name": "adamw"}),
        pytest.param(
            "smooth-iou[lam=ema]",
            {"optim.name": "sgd", "optim.schedule": "step", "optim.step_every": 1},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"{__name__}:noisy",
            {"optim.name": "tf-rmsprop", "model.roi_dropout": 0.5, "train.workers": 2},
            marks=pytest.mark.slow,
        ),
        pytest.param("iou", {"optim.name": "rmsprop", "model.tf_compat": True}, marks=pytest.mark.slow),
    ],
    ids=["adamw", "sgd-ema", "noise-dropout-workers", "rmsprop-tf"],
)
def test_bit_for_bit_and_with_the_state_of_the_loss(loss, others, tmp_path, monkeypatch):
    config = RunConfig().replace({**SETTINGS, **others, "loss.name": loss})
    whole = run(config, tmp_path / "whole", quiet=True)

    steps = signal_in_step(monkeypatch, 2)
    with pytest.raises(InterruptedRun, match="step 2"):
        run(config, tmp_path / "parts", quiet=True)
    again = run(config, tmp_path / "parts", quiet=True)

    assert len(steps) == 4
    first, second = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "parts"))
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key
    assert first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]
    assert first["optimizer"]["state"].keys() == second["optimizer"]["state"].keys()
    for number, state in first["optimizer"]["state"].items():
        for key, value in state.items():
            assert value is None or torch.equal(value, second["optimizer"]["state"][number][key]), (number, key)
    assert first["box_loss"].keys() == second["box_loss"].keys() == {"rpn", "roi"}
    for stage, own in first["box_loss"].items():
        assert (set(own) == {"rule.average"}) == ("ema" in loss)
        for key, value in own.items():
            assert value[1] > 0
            assert torch.equal(value, second["box_loss"][stage][key])
    assert whole["metrics"] == again["metrics"]
    assert whole["localization"] == again["localization"]


def test_another_version_of_torch_is_named(tmp_path, capsys):
    config = RunConfig().replace(SETTINGS)
    run(config, tmp_path, quiet=True)
    last = load_checkpoint(tmp_path / "last.ckpt")
    save_checkpoint(tmp_path / "last.ckpt", {**last, "rounding": {"torch": "1.0", "threads": torch.get_num_threads()}})
    for quiet in (True, False):
        (tmp_path / "done").unlink()
        run(config, tmp_path, quiet=quiet)
        note = capsys.readouterr().err
        assert ("torch was 1.0" in note) is not quiet
        assert "threads" not in note
