"""Memory for tensors that stay for a whole training, apart from those of a step."""

from __future__ import annotations

import torch
from torch import Tensor

SLAB_BYTES = 64 * 2**20
"""More than glibc ever takes from its heap (32 MiB): a slab is mapped alone, and goes back to the system when freed."""
ALIGNMENT = 64
"""Bytes, as torch aligns its own tensors."""


class Slabs:
    """Room for copies of tensors, side by side in large blocks.

    Cached where they were computed, among tensors that are freed, even the smallest leave holes into which nothing of
    that size fits again: 205 photos and their mirror images, 380 MB, took 2,030 MB.
    """

    def __init__(self) -> None:
        self._free = torch.empty(0, dtype=torch.uint8)

    def store(self, tensor: Tensor) -> Tensor:
        """Return a copy with the same strides; a tensor that is not dense, or not in main memory, as it is."""
        dense = tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
        if tensor.device.type != "cpu" or not dense:
            return tensor
        size = -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        if size > len(self._free):  # what is left of the slab before is lost
            self._free = torch.empty(max(size, SLAB_BYTES), dtype=torch.uint8)
        room, self._free = self._free[: tensor.nbytes], self._free[size:]
        return room.view(tensor.dtype).as_strided(tensor.shape, tensor.stride()).copy_(tensor)
