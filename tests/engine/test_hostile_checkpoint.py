"""Checkpoints that mean harm: no code is run, no memory is taken, and nothing but one sentence comes back."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import resource
import time
import zipfile

import pytest
import torch
from torch import nn

from smoothiou.detectors.pretrained import read_checkpoint
from smoothiou.engine.checkpoint import load_checkpoint, restore_model, save_checkpoint
from smoothiou.errors import CheckpointError

READERS = (load_checkpoint, read_checkpoint)


@pytest.fixture
def good(tmp_path):
    save_checkpoint(tmp_path / "good.ckpt", {"model": nn.Linear(2, 3).state_dict(), "step": 1})
    return tmp_path / "good.ckpt"


def rewritten(source, change, *, how: int = zipfile.ZIP_STORED) -> bytes:
    """Return a checkpoint with other members: `change` gets name and content of each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(buffer, "w", how) as again:
        for name in whole.namelist():
            again.writestr(name, change(name, whole.read(name)))
    return buffer.getvalue()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("read", READERS)
def test_a_packed_bomb_is_refused_before_it_is_unpacked(good, tmp_path, read):
    zeros = b"\0" * 2**26  # a thousandth of it on the disk; a larger one is only slower to make
    bomb = rewritten(good, lambda name, old: zeros if name.endswith("data/0") else old, how=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    (tmp_path / "bomb.ckpt").write_bytes(bomb)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"bomb.ckpt.* 67,1\d\d,\d\d\d bytes .*6\d,"):
        read(tmp_path / "bomb.ckpt")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("member", ["", "data.pkl", "data.PKL"])  # torch opens the last, too; "": the old format
@pytest.mark.parametrize("module", [b"builtins", b"__builtin__"])
def test_a_pickle_that_asks_for_a_terabyte_of_nothing_is_refused(good, tmp_path, read, member, module):
    # torch's safe reader would call bytearray(2**40).
    evil = b"\x80\x02c" + module + b"\nbytearray\n\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85R."
    pickletools.dis(evil, out=io.StringIO())
    content = evil
    if member:
        content = rewritten(good, lambda name, old: evil if name.endswith("data.pkl") else old)
        content = content.replace(b"/data.pkl", b"/" + member.encode())
    (tmp_path / "evil.ckpt").write_bytes(content)
    before = peak_megabytes()
    with pytest.raises(CheckpointError, match=r"evil.ckpt.*empty bytes"):
        read(tmp_path / "evil.ckpt")
    assert peak_megabytes() - before < 100


@pytest.mark.parametrize("read", READERS)
def test_pickled_code_is_refused_and_not_run(tmp_path, read):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/ran",))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "new.ckpt")
    torch.save({"format": 1, "model": Evil()}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("new", "old", "bare"):
        with pytest.raises(CheckpointError, match=name):
            read(tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("what", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_and_never_hangs(tmp_path, read, what):
    path = tmp_path / "a.ckpt"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"a.ckpt"):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_lies_about_numbers_are_refused(good, tmp_path, read):
    def longer(name: str, old: bytes) -> bytes:
        # (3, 2) floats become 50 million of the same six.
        return old.replace(b"K\x03K\x02\x86", b"J\x00\xe1\xf5\x05K\x02\x86") if name.endswith("data.pkl") else old

    changed = rewritten(good, longer)
    assert b"J\x00\xe1\xf5\x05K\x02" in changed
    (tmp_path / "a.ckpt").write_bytes(changed)
    with pytest.raises(CheckpointError, match="a.ckpt"):
        read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [{"format": torch.zeros(3), "model": {}}, {"format": True, "model": {}}, {}, [], 7])
def test_a_format_that_is_none_is_named(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="format 1"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("model", [7, ["weight"], {"weight": 7, "bias": None}, "weights"])
def test_a_model_that_is_no_state_dict_is_refused(model):
    with pytest.raises(CheckpointError, match="no state dict"):
        restore_model(nn.Linear(2, 3), model, path="a.ckpt")


def test_a_tensor_that_shows_one_number_a_billion_times_is_no_weight(tmp_path):
    large = torch.zeros(1).expand(10**9)  # 4 bytes on the disk
    torch.save({"format": 1, "model": {"weight": large, "bias": torch.zeros(3)}}, tmp_path / "a.ckpt")
    before = peak_megabytes()
    content = load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"weight .*\(1000000000,\).*\(3, 2\)"):
        restore_model(nn.Linear(2, 3), content["model"], path="a.ckpt")
    assert peak_megabytes() - before < 100
