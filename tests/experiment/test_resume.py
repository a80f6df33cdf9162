"""A run that is stopped and continued is the run that was never stopped."""

from __future__ import annotations

import signal

import pytest
import torch

from smoothiou.config import RunConfig
from smoothiou.errors import InterruptedRun
from smoothiou.experiment import run, training

SETTINGS = {
    "data.path": "shapes", "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
    "train.steps": 4, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
}  # fmt: skip


@pytest.mark.parametrize("loss", ["huber", "smooth-iou[lam=ema]"])
def test_bit_for_bit_and_with_what_the_loss_remembers(loss, tmp_path, monkeypatch):
    config = RunConfig().replace({**SETTINGS, "loss.name": loss})
    whole = run(config, tmp_path / "whole", quiet=True)

    steps = 0
    statistics = training.box_statistics

    def stopped_in_the_second_step(model):
        nonlocal steps
        steps += 1
        if steps == 2:
            signal.raise_signal(signal.SIGTERM)
        return statistics(model)

    monkeypatch.setattr(training, "box_statistics", stopped_in_the_second_step)
    with pytest.raises(InterruptedRun, match="after step 2 of 4"):
        run(config, tmp_path / "parts", quiet=True)
    again = run(config, tmp_path / "parts", quiet=True)

    assert steps == 4
    first, second = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "parts"))
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key
    assert first["box_loss"].keys() == second["box_loss"].keys() == {"rpn", "roi"}
    for stage, own in first["box_loss"].items():
        assert (set(own) == {"rule.average"}) == (loss != "huber")
        for key, value in own.items():
            assert value[1] > 0
            assert torch.equal(value, second["box_loss"][stage][key])
    assert whole["metrics"] == again["metrics"]
    assert whole["localization"] == again["localization"]
