"""Tensors that are computed once and kept: feature maps of photos, and which box each anchor is for."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from smoothiou.slabs import Slabs

UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What torch raises for a file that is missing, cut off, or not to be written."""

Tensors = Tensor | list[Tensor] | dict[str, Tensor]
"""What a backbone returns: one map, or several."""


class TensorCache:
    """Maps of images by weights and content, in memory first, then on disk.

    Runs that share a folder share what is there. An image that does not come again, such as a random crop, costs its
    hash and room until the cache is full.

    Args:
        memory_mb: MiB of maps kept in memory.
        folder: where the others go; None: nowhere, they are computed again.
        disk_mb: MiB of maps kept there; what is there already counts. Runs at the same time have as much each.
    """

    def __init__(self, *, memory_mb: int, folder: Path | None = None, disk_mb: int = 0) -> None:
        self.folder = folder
        files = folder.glob("*.pt") if folder and folder.is_dir() else ()
        self.bytes_left = memory_mb * 2**20
        self.disk_left = disk_mb * 2**20 - sum(file.stat().st_size for file in files) if folder else 0
        self._slabs = Slabs()
        self._maps: dict[str, Tensors] = {}

    def get(self, key: str) -> Tensors | None:
        """Return what was kept under a key; None for nothing."""
        if key in self._maps or self.folder is None:
            return self._maps.get(key)
        with suppress(*UNREADABLE):  # never written, or someone has tidied up
            return torch.load(self.folder / f"{key}.pt", weights_only=True)
        return None

    def put(self, key: str, maps: Tensors) -> None:
        """Keep maps, if there is room."""
        size = sum(each.nbytes for each in levels(maps))
        if size <= self.bytes_left:
            self.bytes_left -= size
            self._maps[key] = _map(self._slabs.store, maps)
        elif size <= self.disk_left and self.folder is not None:
            part = self.folder / f"{key}.{os.getpid()}.part"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                torch.save(maps, part)
                os.replace(part, self.folder / f"{key}.pt")
            except UNREADABLE:  # a full disk: what fits is kept
                self.disk_left = 0
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                return
            self.disk_left -= size


def tensor_digest(*tensors: Tensor) -> str:
    """Return a checksum of shapes, types and values."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()[:32]


def levels(maps: Tensors) -> list[Tensor]:
    """Return the maps of a backbone, one or several, as a list."""
    if isinstance(maps, Tensor):
        return [maps]
    return list(maps.values() if isinstance(maps, dict) else maps)


def _map(function: Callable[[Tensor], Tensor], maps: Tensors) -> Tensors:
    if isinstance(maps, Tensor):
        return function(maps)
    if isinstance(maps, dict):
        return {name: function(level) for name, level in maps.items()}
    return [function(level) for level in maps]
