"""A checkpoint is whole, safe to read, and fits, or it is refused in words."""

from __future__ import annotations

import os
import pickle
import random

import pytest
import torch
from torch import nn

from smoothiou.engine.checkpoint import (
    DamagedCheckpoint,
    load_checkpoint,
    load_newest,
    restore_model,
    save_checkpoint,
)
from smoothiou.errors import CheckpointError, SmoothIoUError


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
    with pytest.raises(CheckpointError, match=r"a.ckpt.*checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_file_that_holds_code_is_refused_and_the_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="tensors"):
        load_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "b.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_and_another_format_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="format 1, .*none"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_weights_of_another_model_are_refused_whole():
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    wrong = {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="bias.*extra.*weight"):
        restore_model(layer, wrong, path="a.ckpt")
    assert torch.equal(layer.weight, before)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"model": {}, "step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SmoothIoUError, match="No space"):
        save_checkpoint(path, {"model": {}, "step": 2})
    assert load_checkpoint(path)["step"] == 1


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path):
    path, content = tmp_path / "a.ckpt", {"model": {"weight": torch.arange(3000.0)}, "classes": ["a"], "step": 3}
    save_checkpoint(path, content)
    whole, moments, found = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[moments.randrange(len(whole))] ^= 1 << moments.randrange(8)
        path.write_bytes(flipped)
        try:
            read = load_checkpoint(path)
        except DamagedCheckpoint:
            found += 1
            continue
        assert torch.equal(read["model"]["weight"], content["model"]["weight"])
        assert {**read, "model": 0} == {"format": 1, "model": 0, "classes": ["a"], "step": 3}
    # Of this small file a tenth is padding and dates, in which a bit means nothing.
    assert found > 240


def test_a_flipped_bit_of_a_weight_is_one_that_torch_itself_does_not_see(tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", {"model": {"weight": torch.ones(3000)}})
    damaged = (
        (tmp_path / "a.ckpt").read_bytes().replace(torch.ones(2).numpy().tobytes(), b"\0\0\x81\x3f\0\0\x80\x3f", 1)
    )
    (tmp_path / "a.ckpt").write_bytes(damaged)
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["model"]["weight"].sum() != 3000
    with pytest.raises(DamagedCheckpoint, match="checksum"):
        load_checkpoint(tmp_path / "a.ckpt")


class TestTheTwoNewest:
    @staticmethod
    def save(folder, step):
        save_checkpoint(folder / "last.ckpt", {"model": {}, "step": step}, backup=folder / "previous.ckpt")

    def test_the_last_is_read_and_the_one_before_is_kept(self, tmp_path):
        assert load_newest(tmp_path) == (None, "")
        for step in (1, 2, 3):
            self.save(tmp_path, step)
        content, said = load_newest(tmp_path)
        assert content is not None
        assert (content["step"], said) == (3, "")
        assert load_checkpoint(tmp_path / "previous.ckpt")["step"] == 2

    def test_a_damaged_one_is_set_aside_each_time_under_a_name_of_its_own(self, tmp_path):
        self.save(tmp_path, 1)
        for step, aside in ((2, "last.ckpt.damaged"), (3, "last.ckpt.damaged-2")):
            self.save(tmp_path, step)
            (tmp_path / "last.ckpt").write_bytes(b"")
            assert load_newest(tmp_path, set_aside=False)[1].endswith("the save before it, is used.")
            content, said = load_newest(tmp_path)
            assert content is not None
            assert content["step"] == 1
            assert f"it is kept as {aside}, and previous.ckpt" in said
        assert sorted(os.listdir(tmp_path)) == ["last.ckpt.damaged", "last.ckpt.damaged-2", "previous.ckpt"]

    def test_the_one_before_is_used_where_the_last_is_missing(self, tmp_path):
        self.save(tmp_path, 1)
        os.rename(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
        content, said = load_newest(tmp_path)
        assert content is not None
        assert (content["step"], said) == (1, "")

    @pytest.mark.parametrize("both", [True, False])
    def test_without_a_whole_one_nothing_is_touched(self, tmp_path, both):
        self.save(tmp_path, 1)
        self.save(tmp_path, 2)
        (tmp_path / "last.ckpt").write_bytes(b"half")
        (tmp_path / "previous.ckpt").write_bytes(b"half")
        if not both:
            (tmp_path / "previous.ckpt").unlink()
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(CheckpointError, match="last.ckpt: not readable") as error:
            load_newest(tmp_path)
        assert ("previous.ckpt: not readable" in str(error.value)) == both
        assert f"move {'them' if both else 'it'} away" in error.value.hint
        assert sorted(os.listdir(tmp_path)) == before

    def test_another_format_or_code_is_no_damage_and_is_not_passed_over(self, tmp_path):
        self.save(tmp_path, 1)
        self.save(tmp_path, 2)
        torch.save({"format": 2, "model": {}}, tmp_path / "last.ckpt")
        with pytest.raises(CheckpointError, match="got format 2") as error:
            load_newest(tmp_path)
        assert not isinstance(error.value, DamagedCheckpoint)
        torch.save({"format": 1, "model": print}, tmp_path / "last.ckpt")
        with pytest.raises(CheckpointError, match="tensors"):
            load_newest(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
