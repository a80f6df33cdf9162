"""The same command twice, the same bits: through the command line on a CPU, and on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from smoothiou.engine.config import RunConfig
from smoothiou.engine.determinism import determinism_fault, deterministic
from smoothiou.engine.train import run
from smoothiou.errors import SmoothIoUError

TINY = {
    "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64, "train.steps": 3,
    "train.batch_size": 2, "train.log_every": 1, "train.precision": "fp32",
}  # fmt: skip


def assert_same_bits(one, two):
    first, second = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (one, two))
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key
    for name in ("predictions.json", "localization.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.slow
def test_twice_on_the_command_line_with_loaders_that_draw_nothing(tmp_path):
    words = [word for key, value in TINY.items() for word in (f"--{key}", str(value))]
    for name, workers in (("one", "0"), ("two", "1")):
        subprocess.run(
            [sys.executable, "-m", "smoothiou", "train", "shapes", "--deterministic", "--device", "cpu", "--out", name,
             "--train.workers", workers, "--quiet", *words],
            cwd=tmp_path, check=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert "deterministic = true" in (tmp_path / "one" / "config.toml").read_text()
    assert_same_bits(tmp_path / "one", tmp_path / "two")


def test_only_while_the_run_lasts_and_only_when_asked():
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_an_operation_without_a_deterministic_form_is_named():
    error = RuntimeError("roi_pool_backward does not have a deterministic implementation, but you set 'torch.use...")
    told = determinism_fault(error)
    assert isinstance(told, SmoothIoUError)
    assert "roi_pool_backward" in told.message
    assert determinism_fault(RuntimeError("out of luck")) is None


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["nano", "resnet18-fpn"])
def test_twice_on_a_gpu(model, tmp_path):
    settings = {**TINY, "data.path": "shapes", "train.device": "cuda", "train.deterministic": True, "model.name": model}
    for name in ("one", "two"):
        run(RunConfig().replace(settings), tmp_path / name, quiet=True)
    assert_same_bits(tmp_path / "one", tmp_path / "two")
