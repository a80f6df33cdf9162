"""TensorFlow's checkpoints without TensorFlow: names and offsets from the `.index` file, numbers from `.data` files.

The index is a sorted table in blocks (LevelDB's format, uncompressed): a footer at its end points to the index block,
which points to the data blocks, which hold pairs of variable name and small message (protobuf). Each block and each
variable has a CRC-32C, and is used only after its check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from google_crc32c import value as crc32c
from torch import Tensor

from smoothiou.errors import CheckpointError
from smoothiou.files import open_regular, printable, read_bytes, short

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
TRAILER = 5
"""Behind each block: one byte of compression, four bytes of masked CRC of the block and that byte."""
TYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8"), 19: np.dtype("<f2")}
"""Types of numbers by TensorFlow's enumeration."""
MAX_INDEX = 2**22
"""Bytes of an index; that of the paper's checkpoint has 15 kB."""
MAX_KEY = 512
"""Bytes of a variable's name, for each entry may repeat the one before it and add a byte."""
COPY = "Take another copy of the file."


class _Fault(Exception):
    """What is wrong with an index, before its file is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """Where a variable is stored.

    Args:
        dtype: TensorFlow's number of its type.
        shape: as TensorFlow orders it.
        shard: number of its data file, from 0.
        offset: its first byte there.
        size: in bytes.
        crc: CRC-32C of these bytes, unmasked.
        partitioned: whether it is stored in parts under other names.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    partitioned: bool


@dataclass(frozen=True, kw_only=True)
class TensorFlowCheckpoint:
    """A checkpoint whose index was read; each variable is read and checked when asked for.

    Args:
        index: path of the `.index` file.
        shards: number of data files.
        variables: by name, sorted.
    """

    index: Path
    shards: int
    variables: Mapping[str, Variable]

    def read(self, name: str) -> Tensor:
        """Return a variable with its own type and shape.

        Raises:
            CheckpointError: no such variable, or it is cut off, damaged, partitioned or not made of numbers.
        """
        if name not in self.variables:
            raise CheckpointError(f"{self.index}: none of its {len(self.variables)} variables is called {name}.")
        variable = self.variables[name]
        if variable.partitioned:
            raise CheckpointError(f"{self.index}: {name} is stored in parts, which is not supported.")
        if variable.dtype not in TYPES:
            raise CheckpointError(
                f"{self.index}: {name} is of TensorFlow's type {variable.dtype}, which is not supported.",
                hint=f"Supported: {', '.join(f'{number} ({dtype.name})' for number, dtype in TYPES.items())}.",
            )
        dtype, shape = TYPES[variable.dtype], list(variable.shape)
        if math.prod(shape) * dtype.itemsize != variable.size:
            raise CheckpointError(
                f"{self.index}: {name} has shape {shape} of {dtype.name} but {variable.size} bytes.", hint=COPY
            )
        content = self._read_bytes(name, variable)
        try:
            array = np.frombuffer(content, dtype).reshape(shape)
        except ValueError:  # such as (0, 2**64 - 1), which has no bytes but no numpy array either
            raise CheckpointError(f"{self.index}: {name} has the shape {shape}.", hint=COPY) from None
        return torch.from_numpy(array.astype(dtype.newbyteorder("=")))

    def _read_bytes(self, name: str, variable: Variable) -> bytes:
        path = self.index.with_suffix(f".data-{variable.shard:05d}-of-{self.shards:05d}")
        end = variable.offset + variable.size
        try:
            with open_regular(path) as file:
                length = file.seek(0, 2)
                if end > length:
                    raise CheckpointError(
                        f"{path}: cut off: {name} ends at byte {end:,}, the file at {length:,}.", hint=COPY
                    )
                file.seek(variable.offset)
                content = file.read(variable.size)
        except MemoryError:
            raise CheckpointError(f"{path}: {name} has {variable.size:,} bytes, more than fit into memory.") from None
        except (FileNotFoundError, IsADirectoryError):
            raise CheckpointError(f"{path}: no such file.", hint=f"It belongs beside {self.index.name}.") from None
        except OSError as error:
            raise CheckpointError(f"{path}: not readable ({error.strerror}).", hint=COPY) from None
        if (crc := crc32c(content)) != variable.crc:
            raise CheckpointError(
                f"{path}: damaged: {name} has checksum {crc:08x}, expected {variable.crc:08x}.", hint=COPY
            )
        return content


def open_tf_checkpoint(path: str | Path) -> TensorFlowCheckpoint:
    """Read the index of a TensorFlow checkpoint (version 2, as TF 1 and 2 write it).

    Args:
        path: the prefix `model.ckpt` of `model.ckpt.index` and `model.ckpt.data-*`; one of these files; or a folder
            with one checkpoint.

    Raises:
        CheckpointError: no such file, cut off, damaged, or something else.
    """
    index = _find_index(Path(path))
    try:
        content = read_bytes(index, most=MAX_INDEX)
    except OSError as error:
        raise CheckpointError(f"{index}: not readable ({error.strerror}).", hint=COPY) from None
    try:
        entries = dict(_entries(content))
        if b"" not in entries:
            raise _Fault("it has no header")
        shards = _read_header(entries.pop(b""))
        variables = {_name(key): _read_variable(key, value, shards=shards) for key, value in entries.items()}
    except (_Fault, UnicodeDecodeError) as fault:
        raise CheckpointError(f"{index}: no index of a TensorFlow checkpoint: {fault}.", hint=COPY) from None
    return TensorFlowCheckpoint(index=index, shards=shards, variables=variables)


def _find_index(path: Path) -> Path:
    if path.is_dir():
        files = sorted(path.glob("*.index"))
        if len(files) != 1:
            names = ", ".join(file.stem for file in files[:3]) or "none"
            raise CheckpointError(
                f"{path}: expected one TensorFlow checkpoint in this folder, got {len(files)} ({names}).",
                hint="Name it: FOLDER/model.ckpt, without .index.",
            )
        return files[0]
    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)
    index = path.with_name(f"{prefix}.index")
    if not index.is_file():
        raise CheckpointError(
            f"{index}: no such file.",
            hint="A TensorFlow checkpoint is a pair of files, NAME.index and NAME.data-00000-of-00001; give NAME.",
        )
    return index


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Return the pairs of a table."""
    if len(content) < FOOTER or not content.endswith(MAGIC):
        raise _Fault(f"its last {len(MAGIC)} bytes of {len(content):,} are not those of a table; it may be cut off")
    footer = content[-FOOTER:]
    _, _, at = _handle(footer, 0)  # the meta index, which TensorFlow leaves empty
    last_end = 0
    for _, value in _pairs(_block(content, *_handle(footer, at)[:2])):
        offset, size, _ = _handle(value, 0)
        if offset < last_end:
            raise _Fault(f"its blocks overlap at byte {offset:,}")
        last_end = offset + size + TRAILER
        yield from _pairs(_block(content, offset, size))


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Return offset and size of a block, and the position behind them."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block(content: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + TRAILER > len(content) - FOOTER:
        raise _Fault(f"a block would end at byte {end + TRAILER:,} of {len(content):,}; it is cut off")
    if content[end] != 0:
        raise _Fault(f"a block is compressed (kind {content[end]}), which TensorFlow's checkpoints are not")
    if crc32c(content[offset : end + 1]) != unmask(int.from_bytes(content[end + 1 : end + TRAILER], "little")):
        raise _Fault(f"damaged between bytes {offset:,} and {end:,}: wrong checksum")
    return content[offset:end]


def unmask(masked: int) -> int:
    """Return the CRC behind a masked one, as TensorFlow stores them.

    masked = rotate right by 15 (crc) + 0xA282EAD8
    """
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Return keys and values of a block; a key is a prefix of the one before it, and a suffix."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise _Fault("a block is too short")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise _Fault("an entry reaches beyond its block")
        if shared + fresh > MAX_KEY:
            raise _Fault(f"a name has {shared + fresh:,} bytes, and at most {MAX_KEY:,} are read")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, stored 7 bits a byte from the lowest, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Fault("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise _Fault("a number has more than 64 bits")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return the fields of a protobuf message: their number, and a number or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _Fault(f"a field has the unknown kind {kind}")
        if at + length > len(message):
            raise _Fault("a field reaches beyond its message")
        part = message[at : at + length]
        yield number, part if kind == 2 else int.from_bytes(part, "little")
        at += length


def _numbers(message: bytes) -> dict[int, int]:
    return {number: value for number, value in _fields(message) if isinstance(value, int)}


def _name(key: bytes) -> str:
    name = key.decode()
    if not printable(name):
        raise _Fault(f"a name holds control characters: {short(name)}")
    return name


def _read_header(message: bytes) -> int:
    """Return the number of data files."""
    numbers = _numbers(message)
    if numbers.get(2, 0) != 0:
        raise _Fault("its numbers are big-endian, which is not supported")
    if (shards := numbers.get(1, 0)) < 1:
        raise _Fault("it names no data file")
    return shards


def _read_variable(key: bytes, message: bytes, *, shards: int) -> Variable:
    fields = dict(_fields(message))
    numbers = _numbers(message)
    shape = fields.get(2, b"")
    shard = numbers.get(3, 0)
    if shard >= shards:
        raise _Fault(f"{key.decode()} lies in data file {shard} of {shards}")
    return Variable(
        dtype=numbers.get(1, 0),
        shape=_read_shape(shape) if isinstance(shape, bytes) else (),
        shard=shard,
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        crc=unmask(numbers.get(6, 0)),
        partitioned=7 in fields,
    )


def _read_shape(message: bytes) -> tuple[int, ...]:
    # Field 2, once for each dimension, is a message whose field 1 is the size.
    dimensions = (value for number, value in _fields(message) if number == 2 and isinstance(value, bytes))
    return tuple(_numbers(dimension).get(1, 0) for dimension in dimensions)
