"""A training that begins from another one: recorded by content, and with frozen layers the same on its own disk."""

from __future__ import annotations

import json

import pytest
import torch

from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build, check
from smoothiou.engine.evaluate import open_run
from smoothiou.engine.train import run
from smoothiou.errors import CheckpointError, ConfigError
from tests.engine import tiny
from tests.engine.tiny import weights_of

TINY = {**tiny.TINY, "train.steps": 2}


def test_a_run_begins_from_a_run_folder_and_keeps_what_is_frozen(tmp_path, capsys):
    run(RunConfig().replace(TINY), tmp_path / "first", quiet=True)
    config = RunConfig().replace({**TINY, "model.weights": str(tmp_path / "first"), "model.freeze": "backbone"})
    run(config, tmp_path / "second", quiet=False)
    first, second = (weights_of(tmp_path / name) for name in ("first", "second"))
    moved = {key.split(".")[0] for key in first if not torch.equal(first[key], second[key])}
    assert moved == {"rpn", "roi_heads"}
    assert "5 of 5 classes taken over" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    assert any("5 of 5 classes" in note for note in manifest["model_notes"])
    opened = open_run(tmp_path / "second", checkpoint="last", device="cpu")
    assert all(torch.equal(value, second[key]) for key, value in opened.model.state_dict().items())
    # The folder's name is the same, but its content makes it another run.
    changed = torch.load(tmp_path / "first" / "last.ckpt", weights_only=True)
    changed["model"]["backbone.0.weight"] += 1
    torch.save(changed, tmp_path / "first" / "last.ckpt")
    with pytest.raises(ConfigError, match="model.weights"):
        run(config, tmp_path / "second", quiet=True)


def test_before_a_study_is_planned_its_weights_are_tried(tmp_path):
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 half a file")
    config = RunConfig().replace({"model.weights": str(tmp_path / "cut.ckpt")})
    with pytest.raises(CheckpointError, match="cut.ckpt"):
        build(config, classes=("cat",))
    build(RunConfig(), classes=("cat",))


def test_before_anything_is_written_the_word_for_frozen_layers_is_checked():
    check(RunConfig().replace({"model.freeze": "stem"}), losses=["huber"])
    with pytest.raises(ConfigError, match="stem"):
        check(RunConfig().replace({"model.freeze": "half"}), losses=["huber"])
