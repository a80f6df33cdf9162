"""TensorFlow's checkpoints without TensorFlow: every number comes back, and every fault is named."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from smoothiou.detectors.tf_checkpoint import crc32c, open_tf_checkpoint, unmask
from smoothiou.errors import CheckpointError
from tests.detectors import tf_writer
from tests.detectors.tf_writer import message, number, write_tf_checkpoint

VARIABLES = {
    "a/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/weights/Momentum": np.ones(3, np.float16),
    "b/double": np.linspace(0, 1, 5),
    "b/empty": np.zeros((0, 4), np.float32),
    "b/half": np.array([0.5, -2.0], np.float16),
    "b/whole": np.array([[1, -2]], np.int32),
    "global_step": np.array(200_000, np.int64),
}


# --- checksum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_of_the_standard(data, value):
    assert crc32c(data) == value


def test_checksums_of_any_length_equal_those_by_definition():
    noise = np.random.default_rng(0).bytes(5000)
    for length in [*range(140), 255, 256, 257, 1023, 1024, 1025, 5000]:
        assert crc32c(noise[:length]) == tf_writer.crc(noise[:length]), length


def test_masks_come_off():
    for data in (b"", b"a", b"123456789"):
        assert unmask(int.from_bytes(tf_writer.masked(data), "little")) == crc32c(data)


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("per_block", [1, 3, 100])
def test_every_variable_comes_back(tmp_path, shards, per_block):
    prefix = write_tf_checkpoint(tmp_path / "model.ckpt-7", VARIABLES, shards=shards, per_block=per_block)
    checkpoint = open_tf_checkpoint(prefix)
    assert list(checkpoint.variables) == sorted(VARIABLES)
    for name, array in VARIABLES.items():
        value = checkpoint.read(name)
        assert value.dtype == torch.from_numpy(array).dtype
        assert np.array_equal(value.numpy(), array)


def test_a_checkpoint_is_found_by_any_of_its_names(tmp_path):
    prefix = write_tf_checkpoint(tmp_path / "model.ckpt", VARIABLES)
    (tmp_path / "pipeline.config").write_text("model {}")
    names = (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", tmp_path, str(tmp_path))
    assert {open_tf_checkpoint(name).index for name in names} == {tmp_path / "model.ckpt.index"}
    write_tf_checkpoint(tmp_path / "other.ckpt", VARIABLES)
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        open_tf_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"frozen\.pb\.index"):
        open_tf_checkpoint(tmp_path / "frozen.pb")


def test_an_index_that_is_cut_off_anywhere_is_refused(tmp_path):
    index = tmp_path / "m.index"
    write_tf_checkpoint(tmp_path / "m", VARIABLES)
    whole = index.read_bytes()
    for length in range(len(whole)):
        index.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut off"):
            open_tf_checkpoint(index)


def test_an_index_with_any_byte_changed_is_refused_or_says_the_same(tmp_path):
    index = tmp_path / "m.index"
    write_tf_checkpoint(tmp_path / "m", VARIABLES)
    whole = index.read_bytes()
    expected = open_tf_checkpoint(index)
    refused = 0
    for at in range(len(whole)):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        try:
            same = open_tf_checkpoint(index) == expected
        except CheckpointError:
            refused += 1
        else:
            assert same, at
    # Not looked at: the empty meta index block (9 bytes), its handle and the padding behind the other one (below 40).
    assert refused > len(whole) - 49


def test_data_that_is_cut_off_or_damaged_is_refused_by_variable(tmp_path):
    prefix = write_tf_checkpoint(tmp_path / "m", VARIABLES)
    data = tmp_path / "m.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:90])
    checkpoint = open_tf_checkpoint(prefix)
    with pytest.raises(CheckpointError, match="cut off: a/weights"):
        checkpoint.read("a/weights")
    data.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    with pytest.raises(CheckpointError, match="damaged: a/weights"):
        checkpoint.read("a/weights")
    assert checkpoint.read("b/half").tolist() == [0.5, -2.0]
    data.unlink()
    with pytest.raises(CheckpointError, match=r"m\.data-00000-of-00001"):
        checkpoint.read("b/half")


@pytest.mark.parametrize(
    ("faults", "noun"),
    [
        ({"head": b""}, "header"),
        ({"head": tf_writer.header(shards=1, endianness=1)}, "big-endian"),
        ({"head": tf_writer.header(shards=0)}, "data file"),
        ({"kind": 1}, "compressed"),
        ({"changed": {"a": {"shard": 1}}}, "data file"),
        ({"extra": {"b": b"\x08"}}, "cut off"),
        ({"extra": {"b": b"\x08" + b"\xff" * 10}}, "64 bits"),
        ({"extra": {"b": b"\x12\x05\x00"}}, "field"),
        ({"extra": {"b": b"\x0b"}}, "kind"),
    ],
)
def test_what_is_no_index_is_told_why(tmp_path, faults, noun):
    write_tf_checkpoint(tmp_path / "m", {"a": np.zeros(2, np.float32)}, **faults)
    with pytest.raises(CheckpointError, match=noun):
        open_tf_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(
    ("faults", "noun"),
    [
        ({"changed": {"a": {"dtype": 7}}}, "type 7"),
        ({"changed": {"a": {"dtype": 9}}}, "int64"),
        ({"changed": {"a": {"offset": 2**62}}}, "cut off"),
        ({"changed": {"a": {"checksum": bytes(4)}}}, "damaged"),
        ({"extra": {"a": number(1, 1) + message(2, message(2, number(1, 2))) + message(7, b"")}}, "parts"),
        ({"extra": {"a": number(1, 1) + message(2, message(2, number(1, 2**61))) + number(5, 2**63)}}, "cut off"),
    ],
)
def test_a_variable_that_cannot_be_read_is_told_why(tmp_path, faults, noun):
    write_tf_checkpoint(tmp_path / "m", {"a": np.zeros(2, np.float32)}, **faults)
    checkpoint = open_tf_checkpoint(tmp_path / "m")
    with pytest.raises(CheckpointError, match=noun):
        checkpoint.read("a")
    with pytest.raises(CheckpointError, match="b"):
        checkpoint.read("b")


def test_an_index_by_tensorflow_is_read_to_the_last_entry(tensorflow):
    checkpoint = open_tf_checkpoint(tensorflow / "model.ckpt")
    with (tensorflow / "variables.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["name"] for row in rows] == list(checkpoint.variables)
    for row in rows:
        value = checkpoint.read(row["name"])
        assert (list(value.shape), str(value.dtype)) == (json.loads(row["shape"]), f"torch.{row['dtype']}")
