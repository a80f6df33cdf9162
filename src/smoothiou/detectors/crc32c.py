"""CRC-32C, the checksum of TensorFlow's files, at the speed of numpy.

A CRC is linear: that of two pieces is the first piece's, moved past the second's bytes, xor the second's. So a
long text is cut into many pieces of equal length, all are read side by side, and neighbours are joined until
one is left.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.integer[Any]]

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""
MASK = 0xA282EAD8
PIECE = 64
"""Bytes of a piece, at least: shorter pieces mean fewer steps and more joints."""


def _table() -> Words:
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, (value >> 1) ^ np.uint32(POLYNOMIAL), value >> 1).astype(np.uint32)
    return value


TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes, as an unsigned 32-bit number.

    Reference:
        RFC 3720, appendix B.4.
    """
    if len(data) < 4:
        state = 0xFFFFFFFF
        for byte in data:
            state = int(TABLE[(state ^ byte) & 0xFF]) ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    pieces = 1 << max(0, (len(data) // PIECE).bit_length() - 1)
    length = -(-len(data) // pieces)
    padded = np.zeros(pieces * length, np.uint8)
    own = padded[padded.size - len(data) :]  # leading zeros leave a state of 0 as it is
    own[:] = np.frombuffer(data, np.uint8)
    own[:4] ^= 0xFF  # the same as starting with all bits set
    state = np.zeros(pieces, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(pieces, length).T):
        state = TABLE[(state ^ column) & 0xFF] ^ (state >> 8)
    while len(state) > 1:
        state = _apply(_past_zeros(length), state[0::2]) ^ state[1::2]
        length *= 2
    return int(state[0]) ^ 0xFFFFFFFF


def unmask(masked: int) -> int:
    """Return the CRC behind a masked one.

        masked = rotate right by 15 (crc) + 0xA282EAD8

    TensorFlow stores CRCs masked, because the CRC of a text that holds its own CRC would say little.
    """
    rotated = (masked - MASK) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


@lru_cache(maxsize=256)
def _past_zeros(count: int) -> Words:
    """Return what `count` zero bytes make of a state: 32 columns, one for each of its bits."""
    if count == 1:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return TABLE[bits & 0xFF] ^ (bits >> 8)
    half = _past_zeros(count // 2)
    double = _apply(half, half)
    return _apply(_past_zeros(1), double) if count % 2 else double


def _apply(columns: Words, states: Words) -> Words:
    """Return the states after a linear map: the xor of the columns whose bit is set."""
    result = np.zeros_like(states)
    for bit, column in enumerate(columns):
        result ^= ((states >> np.uint32(bit)) & np.uint32(1)) * column
    return result
