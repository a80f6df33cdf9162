"""Identity of a run, as a hash: its settings, data and initial weights. No torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou import files, manifest
from smoothiou.detectors.weights_file import weights_file

SPLITS = ("train", "val", "test")

NEUTRAL = (
    # The fingerprints say what the data is, wherever it lies.
    "data.path", "data.format", "data.allow_dropped", "data.max_pixels", "data.follow_links",
    # Every result records it, and `collect` notes when cells differ.
    "train.device",
    # How fast, and how often something is written.
    "train.workers", "train.cache_mb", "train.feature_mb", "train.feature_folder",
    "train.log_every", "train.log", "train.save_seconds",
    "train.load_seconds", "train.wait_seconds",
)  # fmt: skip
"""Settings that do not change the result: a study may be continued with others."""

LATER_DEFAULTS = {
    "data.resplit": "none",
    "data.cut": "80/20",
    "loss.rpn_weight": 1.0,
    "loss.roi_weight": 1.0,
    "model.tf_compat": False,
    "model.roi_dropout": "none",
    "model.freeze": "auto",
    "optim.epsilon": 1.0,
    "optim.clip_by": "global",
    "train.deterministic": False,
    "train.patience": 0,
    "train.augment": "flip",
    "train.compile": False,
    "train.compile_loss": "auto",
}
"""Settings that came after the first studies, with the value that those had. At that value they stay out of the
identity, so that what was finished before stays finished."""


def cell_hash(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return 12 hex digits: equal for two runs that must give the same result (see `NEUTRAL`).

    Args:
        settings: `RunConfig.flat()`.
        data: per split its facts with "fingerprint", or None.
    """
    facts = _in_names_of_version_0_1(identity(settings, data))
    return files.digest({"schema_version": manifest.SCHEMA_VERSION, **facts})


def identity(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return the settings of a run without the neutral ones, and its data's fingerprints."""
    later = LATER_DEFAULTS.items()
    facts = {key: value for key, value in settings.items() if key not in NEUTRAL and (key, value) not in later}
    for split in SPLITS:
        facts[f"data.{split}.fingerprint"] = (data.get(split) or {}).get("fingerprint")
    weights = settings.get("model.weights", "none")
    if content := _content(weights):  # the same path may hold other weights tomorrow
        facts["model.weights"] = f"{weights}#{content}"
    return facts


def _in_names_of_version_0_1(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `config.upgrade`, so that hashes of finished runs stay valid."""
    old = dict(facts)
    if old.get("optim.schedule") == "warmup-cosine":
        old["optim.schedule"] = "one-cycle"
    if old.pop("model.tf_compat", False):
        old["model.flavour"] = "tf"
    if (dropout := old.pop("model.roi_dropout", "none")) != "none":
        old["model.keep"] = round(1 - dropout, 12)
    return old


def _content(weights: str) -> str:
    """Return a short hash of the named weights' content; "" where they are no file."""
    if not weights.startswith("tf:"):
        file = weights_file(weights)
        return files.file_digest(file) if file.is_file() else ""
    # NAME stands for NAME.index and NAME.data-*; it may also be one of these, or their folder.
    path = Path(weights.removeprefix("tf:"))
    name = re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, f"{glob.escape(name)}.*")
    parts = [file for file in sorted(folder.glob(pattern)) if re.search(r"\.(index|data-\d+-of-\d+)$", file.name)]
    return files.digest([files.file_digest(part) for part in parts]) if parts else ""
