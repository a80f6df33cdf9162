"""Spoilt files of every format, a few hundred of each: a reader answers with one kind of error, soon.

The long run over the same readers is `python benchmarks/fuzz_readers.py`; what it found stands below as files.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoothiou.errors import SmoothIoUError
from tests.fuzz.readers import READERS, Reader, bad_file, prepare


def check_answer(reader: Reader, folder: Path, content: bytes) -> None:
    """Read a file of this content: it is soon read, or refused in words."""
    (folder / reader.file).write_bytes(content)
    said, start = "read", time.process_time()
    try:
        reader.read(folder)
    except SmoothIoUError as error:
        said = error.message
    assert said
    assert time.process_time() - start < 10


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_good_file_is_read(reader: Reader, tmp_path):
    refused = 0
    seeds = prepare(reader, tmp_path)
    for content in seeds:
        (tmp_path / reader.file).write_bytes(content)
        try:
            reader.read(tmp_path)
        except SmoothIoUError:
            refused += 1
    # A bare state dict is no checkpoint of ours, a packed one is refused, and so is EPS.
    assert refused == {"checkpoint": 2, "image": 1}.get(reader.name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_spoilt_file_is_read_or_refused_in_words(reader: Reader, tmp_path):
    seeds = prepare(reader, tmp_path)

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32))
    def one(seed: int) -> None:
        check_answer(reader, tmp_path, bad_file(reader, seeds, seed))

    one()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@given(content=st.binary(max_size=200))
@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_are_read_or_refused_in_words(reader: Reader, tmp_path, content: bytes):
    if not (tmp_path / reader.file).exists():
        prepare(reader, tmp_path)
    check_answer(reader, tmp_path, content)
