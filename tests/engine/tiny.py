"""Settings of a training that takes a second, what it leaves, and what processes of one need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed

TINY = {
    "data.path": "shapes", "data.images": 6, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
    "train.steps": 1, "train.batch_size": 2, "train.device": "cpu", "train.precision": "fp32", "loss.name": "huber",
}  # fmt: skip

needs_gloo = pytest.mark.skipif(not distributed.is_gloo_available(), reason="this build of torch has no gloo backend")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The model of the last checkpoint of a run."""
    return torch.load(folder / "last.ckpt", weights_only=True)["model"]
