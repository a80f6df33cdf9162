"""A checkpoint is whole, safe to read, and fits, or it is refused in words."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from smoothiou.errors import CheckpointError, SmoothIoUError
from smoothiou.train.checkpoint import load_checkpoint, restore_model, save_checkpoint


def test_what_is_saved_is_what_is_loaded(tmp_path):
    layer = nn.Linear(2, 3)
    save_checkpoint(tmp_path / "a.ckpt", {"model": layer.state_dict(), "step": 7})
    content = load_checkpoint(tmp_path / "a.ckpt")
    assert content["step"] == 7
    other = nn.Linear(2, 3)
    restore_model(other, content["model"], path="a.ckpt")
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize("length", [0, 10, 500])
def test_a_file_that_was_cut_off_is_refused(tmp_path, length):
    save_checkpoint(tmp_path / "a.ckpt", {"model": nn.Linear(2, 3).state_dict()})
    (tmp_path / "a.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"a.ckpt: not readable as a checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_file_that_holds_code_is_refused_and_the_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="only tensors and plain values"):
        load_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "b.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_and_another_format_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="expected a smoothiou checkpoint of format 1, got format none"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_weights_of_another_model_are_refused_whole():
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    wrong = {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="bias is missing; extra is unknown; weight is"):
        restore_model(layer, wrong, path="a.ckpt")
    assert torch.equal(layer.weight, before)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"model": {}, "step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SmoothIoUError, match="No space left on device"):
        save_checkpoint(path, {"model": {}, "step": 2})
    assert load_checkpoint(path)["step"] == 1
