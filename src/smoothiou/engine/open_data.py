"""The three splits of a run, and what a plan remembers about them. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smoothiou.data import choose_splits, list_splits, load_dataset
from smoothiou.data.leaks import warn
from smoothiou.data.merge import check_classes
from smoothiou.data.records import Dataset
from smoothiou.engine.config import DataConfig
from smoothiou.errors import ConfigError
from smoothiou.files import Limits, allowing


@dataclass(frozen=True, slots=True)
class Splits:
    """What is learnt from, watched during training (perhaps nothing), and reported on."""

    train: Dataset
    val: Dataset | None
    test: Dataset


def open_splits(config: DataConfig) -> Splits:
    """Read the splits that the settings name, or that the data offers.

    Photos that are learnt from and measured on too are faults of the split that is measured on.

    Raises:
        DataError: see `load_dataset`; or the splits have different classes.
        ConfigError: no data was named.
    """
    if not config.path:
        raise ConfigError("data.path is empty.", hint="Name a folder, or `shapes` for the synthetic data set.")
    format_ = None if config.format == "auto" else config.format
    named = {"train": config.train, "val": config.val, "test": config.test}
    with allowing(allowed(config)):
        train, val, test = choose_splits(config.path, format=format_, **named)
    learnt, *others = (open_split(config, split) for split in (train, test, val) if split)
    for other in others:
        check_classes(learnt.classes, other.classes, f"{train} and {other.split}")
    measured, *watched = (warn(learnt, other) for other in others)
    return Splits(learnt, watched[0] if watched else None, measured)


def open_test(config: DataConfig) -> Dataset:
    """Read the split to measure on, which may be all that a data set has."""
    format_ = None if config.format == "auto" else config.format
    with allowing(allowed(config)):
        known = list_splits(config.path, format=format_)
        chosen = known[0] if known else ""
        if config.test or len(known) != 1:
            chosen = choose_splits(config.path, format=format_, train=config.train, test=config.test)[2]
    return open_split(config, chosen)


def open_split(config: DataConfig, split: str) -> Dataset:
    """Read one split with the settings of a run."""
    shapes: dict[str, Any] = {}
    if config.path == "shapes" or config.format == "shapes":
        shapes = {"images": config.images, "size": config.size, "loose": config.loose, "long_tail": config.long_tail}
    return load_dataset(
        config.path,
        format=None if config.format == "auto" else config.format,
        split=split,
        labels=config.labels,
        split_seed=config.split_seed,
        allow_dropped=config.allow_dropped,
        max_pixels=config.max_pixels,
        follow_links=config.follow_links,
        **shapes,
    )


def allowed(config: DataConfig) -> Limits:
    """Return what the settings allow of files."""
    return Limits(pixels=config.max_pixels, links=config.follow_links)


def describe_data(splits: Splits) -> dict[str, Any]:
    """Return name, counts, fingerprint, notes and the first faults of each split."""
    return {name: describe_split(data) for name, data in _named(splits)}


def describe_split(data: Dataset | None) -> dict[str, Any] | None:
    """Return the facts about one split that every result carries."""
    if data is None:
        return None
    return {
        "name": data.name,
        "format": data.format,
        "split": data.split,
        "fingerprint": data.fingerprint,
        "counts": data.counts(),
        "notes": list(data.notes),
        "faults": [
            {"kind": f.kind, "where": f.where, "message": f.message, "drops": f.drops} for f in data.faults[:20]
        ],
    }


def _named(splits: Splits) -> list[tuple[str, Dataset | None]]:
    return [("train", splits.train), ("val", splits.val), ("test", splits.test)]
