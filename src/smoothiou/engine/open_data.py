"""The splits of a run, opened as its settings say, and the facts about them that a plan records. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.data import choose_splits, list_splits, load_dataset
from smoothiou.data.faults import refuse_nothing_left
from smoothiou.data.formats.own import is_code
from smoothiou.data.leaks import warn
from smoothiou.data.merge import check_classes
from smoothiou.data.records import Dataset, Record
from smoothiou.data.resplit import Pool, about_any_train
from smoothiou.data.splits import usual_name
from smoothiou.engine.sections import DataConfig
from smoothiou.errors import ConfigError
from smoothiou.files import Limits, allowing
from smoothiou.import_object import is_registered, name_of

Data = str | Path | Callable[[], Mapping[str, Sequence[Record]]] | Mapping[str, Sequence[Record]]
"""A folder, `shapes`, `package.module:object`; or records by split, or a function that returns them."""
NO_SPLIT_TO_WATCH = "Name one with --data.val; where no split is shipped, --data.cut 70/15/15 cuts one."
"""Way out for who wants to validate."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The training split, the one evaluated during training (if any), and the one that results are of."""

    train: Dataset
    val: Dataset | None
    test: Dataset


def open_splits(config: DataConfig) -> Splits:
    """Read the splits that the settings name, or that the data offers.

    Photos of the training split that are in another too are faults of that other split.

    Raises:
        DataError: see `load_dataset`; or the splits have different classes.
        ConfigError: no data was named, or train and val cannot be cut anew (`data.resplit`).
    """
    if not config.path:
        raise ConfigError("data.path is empty.", hint="Name a folder, or `shapes` for the synthetic data set.")
    named = {"train": config.train, "val": config.val, "test": config.test}
    with allowing(file_limits(config)):
        train, val, test = choose_splits(config.path, format=config.format, cut=config.cut, **named)
    train_data, *others = (open_split(config, split) for split in (train, test, val) if split)
    for other in others:
        check_classes(train_data.classes, other.classes, f"{train} and {other.split}")
    test_data, val_data = others[0], others[1] if val else None
    if config.resplit != "none":
        train_data, val_data = pool(config, Splits(train_data, val_data, test_data)).cut(config.resplit)
        test_data = about_any_train(test_data)
    val_data = None if val_data is None else warn(train_data, val_data)
    return Splits(train_data, val_data, warn(train_data, test_data))


def pool(config: DataConfig, splits: Splits) -> Pool:
    """Return the images of train and val, to be cut anew.

    Raises:
        ConfigError: there is nothing to cut, or boxes of train are drawn more loosely than those of val.
    """
    if config.loose and _is_drawn(config):
        raise ConfigError(
            f"data.resplit: expected data.loose 0, got {config.loose:g}: boxes of val are exact and would join train.",
            hint="Leave one of them out.",
        )
    return Pool(splits.train, splits.val, splits.test)


def open_test(config: DataConfig) -> Dataset:
    """Read the test split, or the only split of a data set."""
    with allowing(file_limits(config)):
        known = list_splits(config.path, format=config.format, cut=config.cut)
        chosen = known[0] if known else ""
        if config.test or len(known) != 1:
            named = {"train": config.train, "test": config.test}
            chosen = choose_splits(config.path, format=config.format, cut=config.cut, **named)[2]
    return open_split(config, chosen)


def open_measured(config: DataConfig, split: str | None = None) -> Dataset:
    """Read the split that a finished run is measured on: the test split, or one by its name.

    Where train and val were cut anew, these names mean the run's own parts: else it would be measured on its own
    training images.
    """
    if split and config.resplit != "none":
        splits = open_splits(config)
        parts = {usual_name(part.split): part for part in (splits.train, splits.val) if part is not None}
        if usual_name(split) in parts:
            return parts[usual_name(split)]
    return open_split(config, split) if split else open_test(config)


def open_split(config: DataConfig, split: str) -> Dataset:
    """Read one split with the settings of a run, as the data has it.

    Raises:
        DataError: see `load_dataset`; or it has boxes, none of which is a target.
    """
    shapes: dict[str, Any] = {}
    if _is_drawn(config):
        shapes = {"images": config.images, "size": config.size, "loose": config.loose, "long_tail": config.long_tail}
    dataset = load_dataset(
        config.path,
        format=config.format,
        split=split,
        labels=config.labels,
        split_seed=config.split_seed,
        cut=config.cut,
        allow_dropped=config.allow_dropped,
        max_pixels=config.max_pixels,
        follow_links=config.follow_links,
        **shapes,
    )
    refuse_nothing_left(dataset)
    return dataset


def _is_drawn(config: DataConfig) -> bool:
    return "shapes" in (config.path, config.format)


def other_data(config: DataConfig, path: str | None) -> DataConfig:
    """Return the settings of other data in place of a run's, in its usual splits; without a path, the run's own.

    Raises:
        ConfigError: the run's own data is code, and a stranger's folder runs none unasked.
    """
    if not path:
        if ":" in config.format or (is_code(config.path) and not is_registered(config.path)):
            raise ConfigError(f"The run's data is code: {config.path}.", hint=f"Name it: --data {config.path}.")
        return config
    return config.model_copy(
        update={"path": path, "format": "auto", "train": "", "val": "", "test": "", "resplit": "none"}
    )


def data_setting(data: Data) -> str:
    """Return DATA as a setting: a path as it is, an object by its name.

    Raises:
        ConfigError: one split alone, or nothing that gives records.
    """
    if isinstance(data, (str, Path)):
        return str(data)
    if isinstance(data, Dataset):
        raise ConfigError(
            f"data: {data.name}/{data.split} is one split.",
            hint='Give its folder, or both as {"train": ..., "test": ...}.',
        )
    if isinstance(data, Mapping):
        records = data

        def splits() -> Mapping[str, Sequence[Record]]:
            return records

        return name_of(splits)
    return name_of(data)


def file_limits(config: DataConfig) -> Limits:
    """Return the limits on image files that the settings allow."""
    return Limits(pixels=config.max_pixels, links=config.follow_links)


def describe_data(splits: Splits) -> dict[str, Any]:
    """Return name, counts, fingerprint, notes and the first faults of each split."""
    return {name: describe_split(getattr(splits, name)) for name in ("train", "val", "test")}


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
