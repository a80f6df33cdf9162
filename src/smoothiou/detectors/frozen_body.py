"""A frozen backbone computes each image alone, and once: what it gave is kept for the next time."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothiou.detectors.mixin import Mixin, mix_in
from smoothiou.slabs import Slabs

DIVISOR = 32
"""Images are cut to multiples of this, the largest stride, so that their maps end where their cells do."""


UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What torch raises for a file that is missing, cut off, or not to be written."""

Maps = Tensor | list[Tensor] | dict[str, Tensor]
"""What a backbone returns: one map, or several."""


class FeatureCache:
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
        self._maps: dict[str, Maps] = {}

    def get(self, key: str) -> Maps | None:
        """Return what was kept under a key; None for nothing."""
        if key in self._maps or self.folder is None:
            return self._maps.get(key)
        with suppress(*UNREADABLE):  # never written, or someone has tidied up
            return torch.load(self.folder / f"{key}.pt", weights_only=True)
        return None

    def put(self, key: str, maps: Maps) -> None:
        """Keep maps, if there is room."""
        size = sum(each.nbytes for each in _levels(maps))
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


class FrozenBody(Mixin):
    """A backbone that computes each image of a batch alone, without gradients (mixed into its own class).

    An image's maps then do not depend on the images beside it, so they may be kept, and a run with a cache is the run
    without one to the bit. Where a batch is padded for a larger image, the maps are padded with zeros.
    """

    feature_cache: FeatureCache | None = None
    feature_key = ""
    """Of the weights and of what else decides the last bits of a map, but for its precision."""

    def forward(self, images: Tensor) -> Maps:
        """Return the maps of a batch (N, C, H, W), in the backbone's own containers."""
        one_by_one = [self._maps(image) for image in images.unbind()]
        levels = [_stack(level) for level in zip(*map(_levels, one_by_one), strict=True)]
        first = one_by_one[0]
        if isinstance(first, Tensor):
            return levels[0]
        return dict(zip(first, levels, strict=True)) if isinstance(first, dict) else levels

    @torch.no_grad()
    def _maps(self, image: Tensor) -> Maps:
        """Return the maps of one image (C, H, W), computed or kept."""
        image = _without_padding(image)
        key = self.feature_key + _precision(image) + _digest(image) if self.feature_cache else ""
        kept = self.feature_cache.get(key) if self.feature_cache else None
        if kept is not None:
            return kept
        maps = super().forward(image[None].contiguous(memory_format=torch.channels_last))  # type: ignore[misc]
        maps = dict(maps) if isinstance(maps, Mapping) else maps
        if self.feature_cache:
            self.feature_cache.put(key, maps)
        return maps


def keep_features(body: nn.Module, cache: FeatureCache) -> None:
    """Give a backbone with its final weights a cache, if it is frozen as a whole."""
    if isinstance(body, FrozenBody):
        body.feature_cache = cache
        digest = hashlib.blake2b(f"{torch.get_num_threads()} {torch.__version__}".encode(), digest_size=8)
        for name, value in body.state_dict().items():
            digest.update(f"{name} {value.device.type}".encode() + value.detach().cpu().contiguous().numpy().tobytes())
        body.feature_key = digest.hexdigest()


def freeze_body(body: nn.Module) -> None:
    """Let a backbone that is frozen as a whole compute image by image, in place."""
    mix_in(body, FrozenBody)


def _without_padding(image: Tensor) -> Tensor:
    """Cut the zeros that a batch has added at the right and below, up to the next multiple of DIVISOR."""
    return image[:, : _extent(image, 1), : _extent(image, 2)]


def _extent(image: Tensor, side: int) -> int:
    length = image.shape[side]
    while length > DIVISOR:
        shorter = (length - 1) // DIVISOR * DIVISOR
        if image.narrow(side, shorter, length - shorter).any():
            break
        length = shorter
    return length


def _map(function: Callable[[Tensor], Tensor], maps: Maps) -> Maps:
    if isinstance(maps, Tensor):
        return function(maps)
    if isinstance(maps, dict):
        return {name: function(level) for name, level in maps.items()}
    return [function(level) for level in maps]


def _levels(maps: Maps) -> list[Tensor]:
    if isinstance(maps, Tensor):
        return [maps]
    return list(maps.values() if isinstance(maps, dict) else maps)


def _stack(maps: Sequence[Tensor]) -> Tensor:
    height, width = (max(each.shape[side] for each in maps) for side in (2, 3))
    return torch.cat([F.pad(each, (0, width - each.shape[3], 0, height - each.shape[2])) for each in maps])


def _precision(image: Tensor) -> str:
    """Return in what the body computes an image, "" for its own type."""
    device = image.device.type
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.") if torch.is_autocast_enabled(device) else ""


def _digest(image: Tensor) -> str:
    digest = hashlib.sha256(f"{tuple(image.shape)}".encode())
    digest.update(image.contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()[:32]
