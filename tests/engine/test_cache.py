"""What makes a training faster changes its time and nothing else."""

from __future__ import annotations

import csv

import pytest
import torch

from smoothiou.data.dataset import DetectionDataset
from smoothiou.detectors.tensor_cache import TensorCache
from smoothiou.engine import loading
from smoothiou.engine.config import RunConfig
from smoothiou.engine.train import run


def trained(folder, **more):
    settings = {
        "data.path": "shapes", "data.images": 6, "data.size": 64, "model.min_size": 48, "model.max_size": 48,
        "train.steps": 9, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
    }  # fmt: skip
    run(RunConfig().replace(settings | more), folder, quiet=True)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    weights = torch.load(folder / "last.ckpt", weights_only=True)["model"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows], weights


def test_only_who_asks_gets_a_compiled_backbone(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    _, weights = trained(tmp_path / "plain", **{"train.steps": 1})
    assert compiled == []
    _, others = trained(tmp_path / "compiled", **{"train.steps": 1, "train.compile": True})
    assert compiled == ["NanoBackbone"]
    assert weights.keys() == others.keys()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_with_and_without_kept_images_a_run_ends_with_the_same_weights(tmp_path, workers):
    rows, weights = trained(tmp_path / "without", **{"train.cache_mb": 0})
    others, again = trained(tmp_path / "with", **{"train.cache_mb": 64, "train.workers": workers})
    assert rows == others
    assert all(torch.equal(weights[key], again[key]) for key in weights)


@pytest.mark.slow
def test_so_does_one_whose_device_mirrors_the_pixels(tmp_path, monkeypatch):
    rows, weights = trained(tmp_path / "here", **{"train.cache_mb": 0})
    made = []

    def as_for_a_gpu(data, *, cache_mb, mirror):
        assert mirror == "here"  # on a CPU
        made.append(DetectionDataset(data, cache_mb=cache_mb, mirror="later"))
        return made[-1]

    monkeypatch.setattr(loading, "DetectionDataset", as_for_a_gpu)
    others, again = trained(tmp_path / "later", **{"train.cache_mb": 0})
    assert len(made) == 1
    assert rows == others
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_with_and_without_kept_features_a_run_ends_with_the_same_weights(tmp_path):
    frozen = {"model.freeze": "backbone", "train.eval_every": 4}
    rows, weights = trained(tmp_path / "without", **frozen, **{"train.feature_mb": 0})
    others, again = trained(tmp_path / "with", **frozen)
    assert rows == others
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert not list((tmp_path / "with").glob("features*"))


def test_maps_that_do_not_fit_in_memory_are_gone_from_disk_when_the_run_ends(tmp_path, monkeypatch):
    caches = []

    def without_memory(*, memory_mb, **options):
        caches.append(TensorCache(memory_mb=0, **options))
        return caches[-1]

    monkeypatch.setattr("smoothiou.engine.train.TensorCache", without_memory)
    trained(tmp_path / "run", **{"model.freeze": "backbone", "train.feature_mb": 64})
    (cache,) = caches
    assert cache.disk_left < 64 * 2**20  # some were written
    assert not list((tmp_path / "run").glob("features*"))


@pytest.mark.slow
def test_runs_that_share_kept_features_end_with_the_same_weights_too(tmp_path):
    frozen = {"model.freeze": "backbone", "train.eval_every": 4}
    rows, weights = trained(tmp_path / "alone", **frozen)
    shared = {**frozen, "train.feature_folder": str(tmp_path / "shared")}
    trained(tmp_path / "first", **shared)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").iterdir()}
    others, again = trained(tmp_path / "second", **shared)
    assert files == {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").iterdir()}
    assert rows == others
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert (tmp_path / "second" / "config.toml").read_bytes() == (tmp_path / "alone" / "config.toml").read_bytes()
