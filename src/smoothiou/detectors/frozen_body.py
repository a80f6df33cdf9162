"""A frozen backbone computes each image alone, and once: what it gave is kept for the next time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothiou.detectors.mixin import Mixin, mix_in
from smoothiou.detectors.tensor_cache import TensorCache, Tensors, levels, tensor_digest

DIVISOR = 32
"""Images are cut to multiples of this, the largest stride, so that their maps end where their cells do."""


class FrozenBody(Mixin):
    """A backbone that computes each image of a batch alone, without gradients (mixed into its own class).

    An image's maps then do not depend on the images beside it, so they may be kept, and a run with a cache is the run
    without one to the bit. Where a batch is padded for a larger image, the maps are padded with zeros.
    """

    feature_cache: TensorCache | None = None
    feature_key = ""
    """Of the weights and of what else decides the last bits of a map, but for its precision."""

    def forward(self, images: Tensor) -> Tensors:
        """Return the maps of a batch (N, C, H, W), in the backbone's own containers."""
        one_by_one = [self._maps(image) for image in images.unbind()]
        stacked = [_stack(level) for level in zip(*map(levels, one_by_one), strict=True)]
        first = one_by_one[0]
        if isinstance(first, Tensor):
            return stacked[0]
        return dict(zip(first, stacked, strict=True)) if isinstance(first, dict) else stacked

    @torch.no_grad()
    def _maps(self, image: Tensor) -> Tensors:
        """Return the maps of one image (C, H, W), computed or kept."""
        image = _without_padding(image)
        key = self.feature_key + _precision(image) + tensor_digest(image) if self.feature_cache else ""
        kept = self.feature_cache.get(key) if self.feature_cache else None
        if kept is not None:
            return kept
        maps = super().forward(image[None].contiguous(memory_format=torch.channels_last))  # type: ignore[misc]
        maps = dict(maps) if isinstance(maps, Mapping) else maps
        if self.feature_cache:
            self.feature_cache.put(key, maps)
        return maps


def keep_features(body: nn.Module, cache: TensorCache) -> None:
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


def _stack(maps: Sequence[Tensor]) -> Tensor:
    if len({each.shape for each in maps}) > 1:
        height, width = (max(each.shape[side] for each in maps) for side in (2, 3))
        maps = [F.pad(each, (0, width - each.shape[3], 0, height - each.shape[2])) for each in maps]
    return torch.cat(list(maps))


def _precision(image: Tensor) -> str:
    """Return in what the body computes an image, "" for its own type."""
    device = image.device.type
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.") if torch.is_autocast_enabled(device) else ""
