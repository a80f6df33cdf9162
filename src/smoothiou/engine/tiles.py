"""Square tiles of a large image, so that small objects are seen at a higher scale. No torch."""

from __future__ import annotations

import numpy as np

from smoothiou.errors import ConfigError

Window = tuple[int, int, int, int]
NEAR = 2.0
"""Pixels from a cut at which a box counts as cut."""


def windows(size: tuple[int, int], *, tile: int, overlap: float) -> list[Window]:
    """Return the tiles (left, top, right, bottom) that cover an image; none if one tile holds all of it.

    Args:
        size: width and height.
        tile: side of a tile, in pixels.
        overlap: share of a tile that it has in common with its neighbour.

    Raises:
        ConfigError: a side below 32, or an overlap that is not from 0 to 0.9.
    """
    check_tiles(tile, overlap)
    width, height = size
    if width <= tile and height <= tile:
        return []
    lefts, tops = (_starts(side, tile, overlap) for side in size)
    return [(left, top, min(left + tile, width), min(top + tile, height)) for top in tops for left in lefts]


def check_tiles(tile: int, overlap: float) -> None:
    """Raise ConfigError for a side below 32, or an overlap that is not from 0 to 0.9."""
    if tile < 32 or not 0 <= overlap <= 0.9:
        raise ConfigError(f"--tile {tile} --overlap {overlap}: expected at least 32 pixels, and 0 to 0.9.")


def touches_cut(boxes: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes (N, 4) in pixels of the image end at a side of the tile that is no side of the image (N,)."""
    left, top, right, bottom = window
    return (
        ((boxes[:, 0] <= left + NEAR) & (left > 0))
        | ((boxes[:, 1] <= top + NEAR) & (top > 0))
        | ((boxes[:, 2] >= right - NEAR) & (right < size[0]))
        | ((boxes[:, 3] >= bottom - NEAR) & (bottom < size[1]))
    )


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    step = max(1, int(tile * (1 - overlap)))
    starts = list(range(0, max(side - tile, 0), step))
    return [*starts, max(side - tile, 0)]
