"""Reading a data set for the doctor: nothing stops it, and what readers refuse becomes a finding. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from smoothiou.data import merge, shapes
from smoothiou.data import registry as detect
from smoothiou.data.doctor.facts import Entry, Example, Photo, Survey
from smoothiou.data.doctor.photos import header, unlisted
from smoothiou.data.doctor.scan_coco import scan_coco
from smoothiou.data.doctor.scan_udacity import scan_udacity
from smoothiou.data.doctor.scan_voc import scan_pets, scan_voc
from smoothiou.data.records import Dataset, ImageFile
from smoothiou.data.splits import usual_name
from smoothiou.engine.config import DataConfig
from smoothiou.errors import ConfigError, did_you_mean

ALREADY = {"no-area": "no-area", "outside": "outside-image", "size-mismatch": "size-mismatch"}
"""Kinds of faults of readers, and the checks that they belong to."""


def survey(path: str | Path, *, data: DataConfig, format: str | None = None, labels: str = "") -> Survey:
    """Return everything that a data set holds, read from annotations and from the headers of its images.

    Args:
        path: as for `load_dataset`.
        data: the seed of the cut where no split is shipped, and what `shapes` draws.
        format: as for `load_dataset`.
        labels: as for `load_dataset`.

    Raises:
        DataError: nothing is there, or nothing known.
        ConfigError: no such format.
    """
    homes = merge.folders(path)
    found = [_scan(home.folder, data, format=format, labels=labels) for home in homes]
    return found[0] if len(found) == 1 else _joined(found, [home.name for home in homes])


def of_datasets(datasets: Mapping[str, Dataset]) -> Survey:
    """Return what is known of splits that a reader has already read: no file is opened again.

    Args:
        datasets: by the name of the split.
    """
    first = next(iter(datasets.values()))
    problems: dict[str, list[Example]] = {}
    splits = {}
    for split, dataset in datasets.items():
        for fault in dataset.faults:
            kind = ALREADY.get(fault.kind, fault.kind)
            if fault.kind == "overhang" and fault.pixels > 1:
                kind = "outside-image"
            problems.setdefault(kind, []).append(Example(where=fault.where, message=fault.message))
        splits[split] = tuple(
            Entry(
                name=record.name,
                split=split,
                where=record.name,
                boxes=record.boxes,
                photo=Photo(
                    path=record.source.path if isinstance(record.source, ImageFile) else None,
                    width=record.width,
                    height=record.height,
                ),
            )
            for record in dataset.records
        )
    return Survey(
        name=first.name,
        format=first.format,
        splits=splits,
        listed=first.classes,
        problems={kind: tuple(examples) for kind, examples in problems.items()},
    )


def _scan(folder: str, data: DataConfig, *, format: str | None, labels: str) -> Survey:
    kind = detect.detect_format(folder) if format in (None, "", "auto") else str(format)
    if kind not in detect.FORMATS:
        raise ConfigError(f"--format: {kind!r} is no format.", hint=did_you_mean(kind, ("auto", *detect.FORMATS)))
    if labels and kind != "pets":
        raise ConfigError(f"--labels: data in the format {kind} has one kind of labels.", hint="Leave it out.")
    root = Path(folder).expanduser()
    scans: dict[str, Callable[[], Survey]] = {
        "voc": lambda: scan_voc(root, split_seed=data.split_seed),
        "pets": lambda: scan_pets(root, split_seed=data.split_seed, labels=labels),
        "coco": lambda: scan_coco(root, split_seed=data.split_seed),
        "udacity": lambda: scan_udacity(root, split_seed=data.split_seed),
        "shapes": lambda: of_datasets({split: _drawn(split, data) for split in shapes.SPLITS}),
    }
    found = scans[kind]()
    used = {entry.path for entry in found.once() if entry.path}
    return dataclasses.replace(found, unlisted=tuple(header(path) for path in unlisted(used)))


def _drawn(split: str, data: DataConfig) -> Dataset:
    return shapes.draw(
        split=split, seed=data.split_seed, images=data.images, size=data.size, loose=data.loose,
        long_tail=data.long_tail,
    )  # fmt: skip


def _joined(found: list[Survey], names: list[str]) -> Survey:
    """Return several data sets as one; images are called FOLDER/NAME, and splits as they usually are."""
    splits: dict[str, tuple[Entry, ...]] = {}
    problems: dict[str, tuple[Example, ...]] = {}
    for one, name in zip(found, names, strict=True):
        for split, entries in one.splits.items():
            called = usual_name(split)
            moved = tuple(dataclasses.replace(e, name=f"{name}/{e.name}", split=called) for e in entries)
            splits[called] = (*splits.get(called, ()), *moved)
        for kind, examples in one.problems.items():
            problems[kind] = (*problems.get(kind, ()), *examples)
    return Survey(
        name="+".join(names),
        format="+".join(dict.fromkeys(one.format for one in found)),
        splits=splits,
        listed=tuple(dict.fromkeys(label for one in found for label in one.listed)),
        problems=problems,
        unlisted=tuple(photo for one in found for photo in one.unlisted),
        notes=tuple(f"{name}: {note}" for one, name in zip(found, names, strict=True) for note in one.notes),
        labels=found[0].labels,
    )
