"""A run folder is enough to use its weights: no data, no network, whatever it was started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
import torch

from smoothiou.detectors import build_detector
from smoothiou.engine.checkpoint import load_checkpoint, save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.evaluate import measure_run, open_run
from smoothiou.engine.train import run
from smoothiou.errors import CheckpointError, ConfigError
from smoothiou.study.comparison import compare_cells
from tests.engine.tiny import TINY


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    run(RunConfig().replace(TINY), folder, quiet=True)
    return folder


def test_a_run_that_began_from_a_checkpoint_opens_when_that_checkpoint_is_gone(finished, tmp_path):
    start = tmp_path / "start.ckpt"
    save_checkpoint(start, {"model": load_checkpoint(finished / "last.ckpt")["model"]})
    run(RunConfig().replace({**TINY, "model.weights": str(start)}), tmp_path / "RUN", quiet=True)
    start.unlink()
    opened = open_run(tmp_path / "RUN", checkpoint="last", device=None)
    weights = load_checkpoint(tmp_path / "RUN" / "last.ckpt")["model"]
    assert all(torch.equal(value, weights[key]) for key, value in opened.model.state_dict().items())
    assert opened.classes == ("circle", "rectangle", "triangle", "ring", "cross")


def test_a_run_with_frozen_norms_opens_as_it_was_trained(tmp_path):
    # What a fine-tuned ImageNet or COCO start leaves: batch norms that count no batches.
    model = build_detector("resnet18-fpn", num_classes=5, loss="huber", min_size=64, max_size=64)
    frozen = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    config = RunConfig().replace({**TINY, "model.name": "resnet18-fpn"})
    (tmp_path / "config.toml").write_text(tomli_w.dumps(config.nested()))
    names = ["circle", "rectangle", "triangle", "ring", "cross"]
    save_checkpoint(tmp_path / "last.ckpt", {"model": frozen, "classes": names, "step": 1})
    opened = open_run(tmp_path, checkpoint="last", device=None)
    assert opened.model.state_dict().keys() == frozen.keys()


def test_evaluating_into_a_run_is_refused_because_its_own_results_must_stay(finished):
    before = (finished / "result.json").read_text()
    with pytest.raises(ConfigError, match="results"):
        measure_run(finished, out=finished, quiet=True)
    assert (finished / "result.json").read_text() == before


def test_a_run_that_began_in_another_precision_is_not_continued(finished, tmp_path):
    content = load_checkpoint(finished / "last.ckpt")
    folder = tmp_path / "RUN"
    config = RunConfig().replace({**TINY, "train.steps": 2})
    folder.mkdir()
    save_checkpoint(folder / "last.ckpt", {**content, "place": {**content["place"], "precision": "bf16"}})
    (folder / "manifest.json").write_text(json.dumps({"identity": _identity(config)}))
    with pytest.raises(ConfigError, match="precision"):
        run(config, folder, quiet=True)
    assert "ConfigError" in (folder / "error.txt").read_text()


def test_a_checkpoint_without_optimizer_cannot_be_continued_from(finished, tmp_path):
    folder = tmp_path / "RUN"
    folder.mkdir()
    config = RunConfig().replace(TINY)
    weights = load_checkpoint(finished / "last.ckpt")["model"]
    save_checkpoint(folder / "last.ckpt", {"model": weights, "classes": []})
    (folder / "manifest.json").write_text(json.dumps({"identity": _identity(config)}))
    with pytest.raises(CheckpointError, match="optimizer"):
        run(config, folder, quiet=True)


@pytest.mark.slow
def test_another_baseline_makes_the_bootstrap_anew(finished, tmp_path):
    from smoothiou.engine.open_data import describe_data, open_splits
    from smoothiou.study import cell_folder, make_plan

    config = RunConfig().replace(TINY)
    splits = open_splits(config.data)
    common = {"data": describe_data(splits), "classes": splits.train.classes, "command": ["smoothiou"]}
    plans = [
        make_plan(config, losses=["huber", "iou"], seeds=[0], baseline=baseline, **common)
        for baseline in ("huber", "iou")
    ]
    for cell in plans[0]["cells"]:
        run(RunConfig().replace(cell["settings"]), cell_folder(tmp_path, cell), quiet=True)
    differences = []
    for plan in plans:
        compare_cells(tmp_path, plan)
        rows = json.loads((tmp_path / "comparison.json").read_text())["bootstrap"]
        assert {row["candidate"] for row in rows} == {loss for loss in plan["losses"] if loss != plan["baseline"]}
        differences.append({row["metric"]: row["difference"] for row in rows})
    for metric, value in differences[0].items():
        assert value == pytest.approx(-differences[1][metric], abs=1e-12)


def _identity(config: RunConfig) -> dict:
    from smoothiou.engine.identity import identity
    from smoothiou.engine.open_data import describe_data, open_splits

    return json.loads(json.dumps(identity(config.flat(), describe_data(open_splits(config.data)))))
