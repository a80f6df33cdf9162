"""Indexes of TensorFlow checkpoints that mean harm, with right checksums."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from smoothiou.detectors.tf_checkpoint import MAX_INDEX, open_tf_checkpoint
from smoothiou.errors import CheckpointError
from tests.detectors.tf_writer import MAGIC, block, header, masked, message, number, table, varint, write_tf_checkpoint


def write(tmp_path, index: bytes):
    (tmp_path / "m.index").write_bytes(index)
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"\0" * 64)
    return tmp_path / "m"


def variable(*, size: int, offset: int = 0, shape: tuple[int, ...] = (4,)) -> bytes:
    dimensions = b"".join(message(2, number(1, length)) for length in shape)
    checksum = int.from_bytes(masked(b"\0" * min(size, 64)), "little")
    return number(1, 1) + message(2, dimensions) + number(4, offset) + number(5, size) + number(6, checksum)


@pytest.mark.parametrize(
    ("shape", "size", "offset", "noun"),
    [
        ((2**38,), 2**40, 0, "cut off"),
        ((4,), 16, 2**63, "cut off"),
        ((4,), 16, 2**64 - 1, "cut off"),
        ((4,), 2**64 - 1, 0, "bytes"),
        ((2**63, 2**63), 16, 0, "bytes"),
        ((0, 2**64 - 1), 0, 0, "shape"),
        ((1,) * 100, 4, 0, "shape"),
    ],
)
def test_sizes_and_places_beyond_the_file_are_refused(tmp_path, shape, size, offset, noun):
    entries = [(b"", header(shards=1)), (b"a", variable(size=size, offset=offset, shape=shape))]
    checkpoint = open_tf_checkpoint(write(tmp_path, table(entries, per_block=4)))
    with pytest.raises(CheckpointError, match=noun):
        checkpoint.read("a")


def test_a_data_file_that_is_no_file_is_refused(tmp_path):
    path = write_tf_checkpoint(tmp_path / "m", {"a": np.zeros(4, np.float32)})
    (tmp_path / "m.data-00000-of-00001").unlink()
    os.mkfifo(tmp_path / "m.data-00000-of-00001")
    with pytest.raises(CheckpointError, match="pipe"):
        open_tf_checkpoint(path).read("a")


def test_an_index_of_a_terabyte_of_nothing_is_refused(tmp_path):
    with (tmp_path / "m.index").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match=f"{MAX_INDEX:,}"):
        open_tf_checkpoint(tmp_path / "m")


def test_names_that_grow_by_a_byte_each_are_refused(tmp_path):
    # Each entry repeats the name before it: a megabyte of them would hold 50 GB of names.
    content = b"".join(varint(length) + varint(1) + varint(0) + b"a" for length in range(5000))
    data = finished(content)
    handle = varint(0) + varint(len(data) - 5)
    index = data + finished(b"\0" + varint(1) + varint(len(handle)) + b"z" + handle)
    with pytest.raises(CheckpointError, match="name"):
        open_tf_checkpoint(write(tmp_path, closed(index, at=len(data))))


def test_blocks_that_are_named_again_and_again_are_refused(tmp_path):
    # A thousand handles of one block of a thousand entries would be a million entries from a few kilobytes.
    data = block([(b"", header(shards=1)), *((b"%05d" % n, variable(size=16)) for n in range(1000))])
    handles = block([(b"%05d" % n, varint(0) + varint(len(data) - 5)) for n in range(1000)])
    start = time.process_time()
    with pytest.raises(CheckpointError, match="overlap"):
        open_tf_checkpoint(write(tmp_path, closed(data + handles, at=len(data))))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", ["a\x1b[2J", "two\nlines"])
def test_names_that_steer_a_terminal_are_refused(tmp_path, name):
    entries = [(b"", header(shards=1)), (name.encode(), variable(size=16))]
    with pytest.raises(CheckpointError, match="control characters"):
        open_tf_checkpoint(write(tmp_path, table(entries, per_block=4)))


def finished(content: bytes) -> bytes:
    """Return a block of entries written by hand."""
    content += (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0"
    return content + masked(content)


def closed(blocks: bytes, *, at: int) -> bytes:
    """Return an index whose last block, from `at`, says where the others are."""
    meta = block([])
    places = varint(len(blocks)) + varint(len(meta) - 5) + varint(at) + varint(len(blocks) - at - 5)
    return blocks + meta + places.ljust(40, b"\0") + MAGIC
