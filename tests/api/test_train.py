"""`smoothiou.train` and the `Run` that it returns: the command line's run, with objects in the place of names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import smoothiou
from smoothiou import import_object
from smoothiou.data import Box, Record
from smoothiou.engine.checkpoint import load_checkpoint
from smoothiou.errors import CheckpointError, ConfigError

from ..cli.conftest import TINY as WORDS
from ..cli.conftest import run_here
from .conftest import TINY


def absolute(pred_deltas, target_deltas, *, weights, anchors):
    """Importable by a name."""
    return (pred_deltas - target_deltas).abs().sum(1)


def unnamed():
    """A loss that no module names."""
    return lambda pred_deltas, target_deltas, *, weights, anchors: (pred_deltas - target_deltas).abs().sum(1)


def forget_objects(monkeypatch):
    """Know what another process knows."""
    monkeypatch.setattr(import_object, "_objects", {})


@pytest.mark.slow
def test_it_is_the_run_of_the_command_line_to_the_last_bit(tmp_path):
    run = smoothiou.train("shapes", loss="huber", out="API", seed=3, optim__lr=0.002, **TINY)
    words = ("train", "shapes", "--loss", "huber", "--seed", "3", "--optim.lr", "0.002", *WORDS)
    result = json.loads(run_here(tmp_path, *words, "--out", "CLI", "--json").stdout)
    assert run.result["hash"] == result["hash"]
    assert run.metrics == result["metrics"]
    ours, theirs = (load_checkpoint(tmp_path / name / "last.ckpt", needed=("model",)) for name in ("API", "CLI"))
    assert all(torch.equal(weight, theirs["model"][key]) for key, weight in ours["model"].items())
    assert "done before" in run_here(tmp_path, *words, "--out", "API").stderr
    assert run.evaluate(quiet=True)["metrics"] == run.metrics
    boxes, scores, names = smoothiou.load_run("API").predict(Image.new("RGB", (50, 40)), score=0.0)
    assert len(boxes) == len(scores) == len(names)
    assert set(names) <= set(run.classes)


def test_a_run_that_is_not_finished_has_no_result(tmp_path):
    with pytest.raises(CheckpointError, match="not finished"):
        _ = smoothiou.Run(tmp_path).metrics


def test_what_a_module_names_is_kept_by_its_name():
    run = smoothiou.train("shapes", loss=absolute, out="RUN", **TINY)
    assert run.result["loss"] == f"{__name__}:absolute"
    assert "objects" not in json.loads((run.folder / "manifest.json").read_text())


def test_an_object_without_a_name_is_known_to_its_process_alone(tmp_path, monkeypatch):
    loss = unnamed()
    run = smoothiou.train("shapes", loss=loss, out="RUN", **TINY)
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert ["abs().sum(1)" in source for source in manifest["objects"].values()] == [True]

    before = (run.folder / "result.json").stat().st_mtime_ns
    smoothiou.train("shapes", loss=loss, out="RUN", **TINY)
    assert (run.folder / "result.json").stat().st_mtime_ns == before, "the same object: the run is done"
    with pytest.raises(ConfigError, match=r"loss\.name.*package\.module:object"):
        smoothiou.train("shapes", loss=unnamed(), out="RUN", **TINY)

    forget_objects(monkeypatch)
    assert smoothiou.load_run("RUN").classes == run.classes  # a detector needs no loss
    again = run_here(tmp_path, "train", "shapes", "--loss", run.result["loss"], "--out", "RUN", *WORDS)
    assert again.returncode == 2
    assert "package.module:object" in again.stderr


class Counting(torch.nn.Module):
    """A loss that keeps something from step to step."""

    stateful = True

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, pred_deltas, target_deltas, *, weights, anchors):
        self.calls += 1
        return (pred_deltas - target_deltas).abs().sum(1)


@pytest.mark.slow
def test_each_run_and_each_stage_has_its_own_copy_of_an_instance():
    loss = Counting()
    for seed in (0, 1):
        run = smoothiou.train("shapes", loss=loss, seed=seed, out=f"RUN{seed}", **TINY)
        state = load_checkpoint(run.folder / "last.ckpt", needed=("box_loss",))["box_loss"]
        assert {stage: int(values["calls"]) for stage, values in state.items()} == {"rpn": 2, "roi": 2}
    assert loss.calls == 0


def test_a_detector_and_data_of_ones_own(monkeypatch):
    from smoothiou.detectors.nano import build_nano

    class Square:
        def __init__(self, number):
            self.number = number

        def read(self):
            return Image.new("RGB", (64, 64), (20 * self.number, 90, 30))

    def records(numbers):
        box = Box(xyxy=(5, 5, 40, 50), label="square")
        return [Record(name=f"{n}", source=Square(n), width=64, height=64, boxes=(box,)) for n in numbers]

    settings = {key: value for key, value in TINY.items() if not key.startswith("data__")}
    data = {"train": records(range(6)), "test": records(range(6, 8))}
    run = smoothiou.train(data, model=lambda **settings: build_nano(**settings), out="RUN", **settings)
    assert run.classes == ("square",)
    assert run.evaluate(quiet=True)["metrics"] == run.metrics  # its own data, in its own process
    assert run.evaluate({"test": data["train"]}, quiet=True)["localization"]["raw_boxes"] > 0
    forget_objects(monkeypatch)
    with pytest.raises(ConfigError, match="process"):
        smoothiou.load_run("RUN")


def test_a_split_alone_and_a_bare_setting_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match='"train": ..., "test": ...'):
        smoothiou.train(smoothiou.load_dataset("shapes", images=3), **TINY)
    with pytest.raises(ConfigError, match="optim__lr"):
        smoothiou.train("shapes", lr=0.1, **TINY)
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        smoothiou.train("shapes", optim__lrr=0.1, **TINY)
    with pytest.raises(ConfigError, match="something to call"):
        smoothiou.train("shapes", loss=np.zeros(3), **TINY)


@pytest.mark.slow
def test_an_export_is_compared_with_the_original():
    run = smoothiou.train("shapes", loss="huber", out="RUN", **TINY)
    exported = run.export(to="torchscript", images=2)
    assert exported["file"] == str(run.folder / "model.pt")
    assert exported["parity"]["holds"]
    assert exported["parity"]["images"] == 4
