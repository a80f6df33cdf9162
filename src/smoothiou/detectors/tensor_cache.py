"""Tensors that are computed once and kept: feature maps of photos, and which box each anchor is for."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothiou.slabs import Slabs

UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What torch raises for a file that is missing, cut off, or not to be written."""

Tensors = Tensor | list[Tensor] | dict[str, Tensor]
"""What a backbone returns: one map, or several."""


class TensorCache:
    """Tensors by key, such as a checksum of what they were computed from; in memory first, then on disk.

    Runs that share a folder share what is there. What does not come again, such as the maps of a random crop, costs its
    checksum and room until the cache is full. A copy, or what comes out of a pickle, is empty.

    Args:
        memory_mb: MiB kept in memory.
        folder: where the rest goes; None: nowhere, it is computed again.
        disk_mb: MiB kept there; what is there already counts. Runs at the same time have as much each.
    """

    def __init__(self, *, memory_mb: int, folder: Path | None = None, disk_mb: int = 0) -> None:
        self.folder = folder
        self._limits = memory_mb, disk_mb
        files = folder.glob("*.pt") if folder and folder.is_dir() else ()
        self.bytes_left = memory_mb * 2**20
        self.disk_left = disk_mb * 2**20 - sum(file.stat().st_size for file in files) if folder else 0
        self._slabs = Slabs()
        self._kept: dict[str, Tensors] = {}

    def __reduce__(self) -> Any:
        memory_mb, disk_mb = self._limits
        return partial(TensorCache, memory_mb=memory_mb, folder=self.folder, disk_mb=disk_mb), ()

    def get(self, key: str) -> Tensors | None:
        """Return what was kept under a key; None for nothing."""
        if key in self._kept or self.folder is None:
            return self._kept.get(key)
        with suppress(*UNREADABLE):  # never written, or someone has tidied up
            return torch.load(self.folder / f"{key}.pt", weights_only=True)
        return None

    def put(self, key: str, maps: Tensors) -> None:
        """Keep tensors, if there is room."""
        size = sum(each.nbytes for each in levels(maps))
        if size <= self.bytes_left:
            self.bytes_left -= size
            self._kept[key] = _map(self._slabs.store, maps)
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
