"""What makes a run this run, and two cells the same: settings, data and starting weights, as a hash. No torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou import files, manifest

SPLITS = ("train", "val", "test")

NEUTRAL = (
    # The fingerprints say what the data is, wherever it lies.
    "data.path", "data.format", "data.allow_dropped", "data.max_pixels", "data.follow_links",
    # Where, not what; every result records it, and `collect` says when cells differ.
    "train.device",
    # How fast, and how often something is written.
    "train.workers", "train.cache_mb", "train.log_every", "train.save_seconds",
    "train.load_seconds", "train.wait_seconds",
)  # fmt: skip
"""Settings that do not change what is learnt: a study may be continued with others."""

UNSAID = {
    "loss.rpn_weight": 1.0,
    "loss.roi_weight": 1.0,
    "model.flavour": "torchvision",
    "model.keep": 0.0,
    "optim.epsilon": 1.0,
    "optim.clip_by": "global",
    "train.deterministic": False,
    "train.compile": False,
}
"""Settings that came after the first studies, with the value that those had: it stays out of what makes a run this
run, so that what was finished before stays finished."""


def cell_hash(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return 12 hex digits: equal for two runs that must give the same result (see `NEUTRAL`).

    Args:
        settings: `RunConfig.flat()`.
        data: per split its facts with "fingerprint", or None.
    """
    return files.digest({"schema_version": manifest.SCHEMA_VERSION, **identity(settings, data)})


def identity(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return what makes a run this run: its settings without the neutral ones, and its data's fingerprints."""
    kept = {k: value for k, value in settings.items() if k not in NEUTRAL and (k, value) not in UNSAID.items()}
    prints = {
        f"data.{split}.fingerprint": facts["fingerprint"] if (facts := data.get(split)) else None for split in SPLITS
    }
    weights = settings.get("model.weights", "none")
    if content := _content(weights):  # the same path may hold other weights tomorrow
        kept["model.weights"] = f"{weights}#{content}"
    return {**kept, **prints}


def _content(weights: str) -> str:
    """Return a short hash of what the named weights hold; "" where that is no file here."""
    if not weights.startswith("tf:"):
        return files.file_digest(Path(weights)) if Path(weights).is_file() else ""
    # NAME stands for NAME.index and NAME.data-*; it may also be one of these, or their folder.
    path = Path(weights.removeprefix("tf:"))
    name = re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, f"{glob.escape(name)}.*")
    parts = [file for file in sorted(folder.glob(pattern)) if re.search(r"\.(index|data-\d+-of-\d+)$", file.name)]
    return files.digest([files.file_digest(part) for part in parts]) if parts else ""
