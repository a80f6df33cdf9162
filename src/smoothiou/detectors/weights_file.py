"""Which file a setting `weights` means. No torch."""

from __future__ import annotations

from pathlib import Path


def weights_file(path: str | Path) -> Path:
    """Return the file of weights at a path: of a run folder its `last.ckpt`, of which its numbers are."""
    path = Path(path)
    return path / "last.ckpt" if path.is_dir() else path
