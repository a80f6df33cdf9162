"""Writes TensorFlow checkpoints, slowly and plainly, so that tests can make whole and faulty ones of any content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
MAGIC = bytes.fromhex("57fb808b247547db")


def crc(data: bytes) -> int:
    """CRC-32C by its definition, a byte at a time."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    value = crc(data)
    return ((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def header(*, shards: int, endianness: int = 0) -> bytes:
    return number(1, shards) + (number(2, endianness) if endianness else b"") + message(3, number(1, 1))


def entry(array: np.ndarray, *, shard: int, offset: int, checksum: bytes, dtype: int | None = None) -> bytes:
    shape = b"".join(message(2, number(1, size)) for size in array.shape)
    content = number(1, TYPES[array.dtype.name] if dtype is None else dtype) + message(2, shape)
    content += number(3, shard) if shard else b""
    content += number(4, offset) if offset else b""
    return content + number(5, array.nbytes) + varint(6 << 3 | 5) + checksum


def block(pairs: Iterable[tuple[bytes, bytes]], *, kind: int = 0) -> bytes:
    """Every second key in full, the others as what differs from the one before; then compression and CRC."""
    content, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % 2 == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    content += b"".join(at.to_bytes(4, "little") for at in restarts) + len(restarts).to_bytes(4, "little")
    content += bytes([kind])
    return content + masked(content)


def table(pairs: list[tuple[bytes, bytes]], *, per_block: int, kind: int = 0) -> bytes:
    content, handles = b"", []
    for start in range(0, len(pairs), per_block):
        part = block(pairs[start : start + per_block], kind=kind)
        handles.append((pairs[start : start + per_block][-1][0], varint(len(content)) + varint(len(part) - 5)))
        content += part
    places = b""
    for part in (block([]), block(handles)):  # the meta index is empty
        places += varint(len(content)) + varint(len(part) - 5)
        content += part
    return content + places.ljust(40, b"\0") + MAGIC


def write_tf_checkpoint(
    prefix: Path,
    variables: Mapping[str, np.ndarray],
    *,
    shards: int = 1,
    per_block: int = 4,
    kind: int = 0,
    head: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write `prefix.index` and its data files, and return `prefix`.

    head: header in place of the right one. extra: entries as bytes, without data. changed: arguments of `entry` that
    are to be wrong, by variable.
    """
    data = [b""] * shards
    pairs = [(b"", header(shards=shards) if head is None else head)] if head != b"" else []
    found = {}
    for index, (name, array) in enumerate(variables.items()):
        shard, content = index % shards, array.tobytes()
        right = {"shard": shard, "offset": len(data[shard]), "checksum": masked(content)}
        found[name] = entry(array, **{**right, **(changed or {}).get(name, {})})
        data[shard] += content
    pairs += [(name.encode(), value) for name, value in sorted({**found, **(extra or {})}.items())]
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(pairs, per_block=per_block, kind=kind))
    for shard, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    return prefix
