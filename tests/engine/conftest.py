"""What the tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w
import torch

from smoothiou.detectors import build_detector
from smoothiou.engine.checkpoint import save_checkpoint
from smoothiou.engine.config import RunConfig

SETTINGS = {
    "data.path": "shapes", "model.name": "nano", "model.min_size": 64, "model.max_size": 64, "train.device": "cpu",
    "train.precision": "fp32", "loss.name": "huber",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with random weights, which finds something of every class everywhere."""
    torch.manual_seed(0)
    config = RunConfig().replace(SETTINGS)
    model = build_detector("nano", num_classes=2, loss=None, weights="none", min_size=64, max_size=64)
    folder = tmp_path / "RUN"
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps(config.nested()))
    save_checkpoint(folder / "last.ckpt", {"model": model.state_dict(), "classes": ["cat", "dog"], "step": 1})
    return folder
