"""A data set as the doctor reads it: all entries, all boxes in one table, and how it would be trained. No torch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from smoothiou.data import merge
from smoothiou.data.doctor.decode import Decoded
from smoothiou.data.faults import SMALLEST
from smoothiou.data.formats.base import Entry, Example, Options, Problems, record_entry
from smoothiou.data.image_finder import list_images
from smoothiou.data.images import Photo, read_header
from smoothiou.data.records import Box, Dataset
from smoothiou.data.registry import open_data
from smoothiou.data.splits import in_usual_order, usual_name
from smoothiou.errors import DataError, bare_message
from smoothiou.files import real_path

FAULT_CHECKS = {"outside": "outside-image"}
"""The check that a reader's fault belongs to, where their names differ."""


class Anchors(Protocol):
    """The anchors of one feature map, as detectors declare them."""

    @property
    def stride(self) -> int:
        """Pixels between neighbouring centres, the first of which is at 0."""
        ...

    @property
    def sides(self) -> tuple[tuple[float, float], ...]:
        """Width and height of each anchor of a cell, in pixels."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How the data would be trained.

    Args:
        split: name of the training split; "" for the usual one.
        batch_size: images in a batch.
        detector: its name.
        anchors: of the detector, one entry per feature map; empty if unknown.
        min_size, max_size: to which the detector resizes the short and the long side, in pixels.
    """

    split: str = ""
    batch_size: int = 8
    detector: str = ""
    anchors: tuple[Anchors, ...] = ()
    min_size: int = 240
    max_size: int = 320


@dataclass(frozen=True, eq=False)
class BoxTable:
    """All boxes of the images that have a known size.

    Args:
        xyxy: corners in pixels (N, 4).
        image_size: width and height of each box's image (N, 2).
        owners: for each box, (its entry, itself).
    """

    xyxy: np.ndarray
    image_size: np.ndarray
    owners: list[tuple[Entry, Box]]

    @property
    def sides(self) -> np.ndarray:
        """Width and height (N, 2)."""
        return self.xyxy[:, 2:] - self.xyxy[:, :2]

    @property
    def usable(self) -> np.ndarray:
        """Which boxes have finite corners and an area (N,)."""
        with np.errstate(all="ignore"):
            sides = self.sides
            return np.logical_and(np.isfinite(sides).all(axis=1), (sides >= SMALLEST).all(axis=1))

    @property
    def ignored(self) -> np.ndarray:
        """Which boxes are difficult or crowds (N,)."""
        return np.array([box.ignored for _, box in self.owners], dtype=bool)


@dataclass(eq=False, kw_only=True)
class Survey:
    """A whole data set, with all that a reader would refuse, for the checks.

    Args:
        name: short name of the data set.
        format: name of the format; of merged data sets, all, joined by "+".
        splits: the images of each split, in the order of its list.
        training: how it would be trained.
        listed: class names that the data set lists, whether or not a box has them; empty where it lists none.
        problems: faults met in reading the annotations, by the id of the check.
        unlisted: image files beside the others that no split names.
        notes: what was decided while reading, one sentence each.
        decoded: results of decoding, by path; empty where nothing was decoded.
    """

    name: str
    format: str
    splits: Mapping[str, tuple[Entry, ...]]
    training: Training = field(default_factory=Training)
    listed: tuple[str, ...] = ()
    problems: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    unlisted: tuple[Photo, ...] = ()
    notes: tuple[str, ...] = ()
    decoded: Mapping[Path, Decoded] = field(default_factory=dict)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every image once, also where several splits list it."""
        unique: dict[tuple[str, Path | None], Entry] = {}
        for split in in_usual_order(self.splits):
            for entry in self.splits[split]:
                unique.setdefault((entry.name, entry.path), entry)
        return list(unique.values())

    @cached_property
    def parts(self) -> dict[str, tuple[Entry, ...]]:
        """The splits that should have no image in common: without trainval beside train and val."""
        both = {"train", "val"} <= {usual_name(split) for split in self.splits}
        names = (split for split in in_usual_order(self.splits) if not (both and usual_name(split) == "trainval"))
        return {split: self.splits[split] for split in names}

    @cached_property
    def boxes(self) -> BoxTable:
        """Every box of every image, each image once."""
        owners = [(entry, box) for entry in self.entries if entry.size for box in entry.boxes]
        corners = np.array([box.xyxy for _, box in owners], dtype=np.float64).reshape(-1, 4)
        sizes = np.array([entry.size for entry, _ in owners], dtype=np.float64).reshape(-1, 2)
        return BoxTable(corners, sizes, owners)

    @property
    def train_split(self) -> str:
        """The name of the training split, or "" if none is called so."""
        names = (self.training.split, "train", "trainval")
        return next((s for name in names for s in self.splits if name and name in (s, usual_name(s))), "")

    def counts(self, split: str) -> Counter[str]:
        """Return the boxes per class of one split, without difficult ones and crowds; nothing for ""."""
        boxes = (box for entry in self.splits.get(split, ()) for box in entry.boxes)
        return Counter(box.label for box in boxes if not box.ignored)

    def scales(self, size: np.ndarray) -> np.ndarray:
        """Return by which factor the detector resizes images (N,) of given width and height (N, 2).

        min(min_size / short side, max_size / long side)
        """
        return np.minimum(self.training.min_size / size.min(axis=1), self.training.max_size / size.max(axis=1))

    def files(self) -> Iterator[tuple[Entry, Photo]]:
        """Return the images that have a file with a readable header, each file once."""
        seen = set()
        for entry in self.entries:
            if entry.photo and entry.path and not entry.photo.problem and entry.path not in seen:
                seen.add(entry.path)
                yield entry, entry.photo


def survey(path: str | Path, *, format: str | None, options: Options, training: Training) -> Survey:
    """Return everything that a data set holds, read from annotations and from the headers of its images.

    Raises:
        DataError: nothing is at the path, or nothing known.
        ConfigError: no such format or labels.
    """
    sources = merge.folders(path)
    surveys = [_survey_one(source.folder, format=format, options=options, training=training) for source in sources]
    return surveys[0] if len(surveys) == 1 else _joined(surveys, [source.name for source in sources])


def of_datasets(datasets: Mapping[str, Dataset], *, training: Training) -> Survey:
    """Return what is known of splits that a reader has already read: no file is opened again."""
    first = next(iter(datasets.values()))
    problems: dict[str, list[Example]] = {}
    splits = {}
    for split, dataset in datasets.items():
        for fault in dataset.faults:
            check = FAULT_CHECKS.get(fault.kind, fault.kind)
            if fault.kind == "overhang" and fault.pixels > 1:
                check = "outside-image"
            problems.setdefault(check, []).append(Example(where=fault.where, message=fault.message))
        splits[split] = tuple(record_entry(record, split) for record in dataset.records)
    return Survey(
        name=first.name,
        format=first.format,
        splits=splits,
        training=training,
        listed=first.classes,
        problems={check: tuple(examples) for check, examples in problems.items()},
    )


def _survey_one(folder: str, *, format: str | None, options: Options, training: Training) -> Survey:
    problems = Problems(lenient=True)
    data = open_data(folder, format=format, options=options, problems=problems)
    headers: dict[Path, Photo] = {}

    def with_header(entry: Entry) -> Entry:
        photo = entry.photo or _photo(entry, headers)
        annotated = entry.annotated or (data.usual_size if photo is None else None)
        return dataclasses.replace(entry, photo=photo, annotated=annotated)

    splits = {split: tuple(with_header(entry) for entry in data.entries(split)) for split in data.files_splits()}
    splits = {split: _one_entry_each(entries, problems) for split, entries in splits.items()}
    used = {entry.path for entries in splits.values() for entry in entries if entry.path}
    beside = (path for folder in sorted({path.parent for path in used}) for path in list_images(folder))
    return Survey(
        name=data.name,
        format=data.format,
        splits=splits,
        training=training,
        listed=data.listed_classes(),
        problems={check: tuple(examples) for check, examples in problems.examples.items()},
        unlisted=tuple(read_header(path) for path in beside if path not in used),
        notes=tuple(data.notes),
    )


def _one_entry_each(entries: Sequence[Entry], problems: Problems) -> tuple[Entry, ...]:
    """Return the images of a split, with the boxes of all annotations of one photo in its first entry."""
    by_photo: dict[str, Entry] = {}
    for number, entry in enumerate(entries):
        key = real_path(entry.path) if entry.path else str(number)
        first = by_photo.get(key)
        if first is None:
            by_photo[key] = entry
            continue
        error = DataError(f"{entry.where}: it is of the photo of {first.where}, too.")
        problems.report("duplicate-name", error, where=entry.where)
        if "read" in (first.annotation, entry.annotation):
            boxes = (*first.boxes, *entry.boxes)
            by_photo[key] = dataclasses.replace(first, boxes=boxes, annotation="read")
    return tuple(by_photo.values())


def _photo(entry: Entry, headers: dict[Path, Photo]) -> Photo | None:
    """Return the header of an image's file, read once however many splits list it; None if there is no file."""
    try:
        path = entry.locate()
    except DataError as error:
        _, separator, rest = error.message.partition(": the image name ")
        message = f"the image name {rest}" if separator else bare_message(error, entry.where)
        return Photo(path=None, problem=message.rstrip("."))
    if path is None:
        return None
    if path not in headers:
        headers[path] = read_header(path)
    return headers[path]


def _joined(surveys: list[Survey], names: list[str]) -> Survey:
    """Return several data sets as one; images are called FOLDER/NAME, and splits by their usual names."""
    splits: dict[str, tuple[Entry, ...]] = {}
    problems: dict[str, tuple[Example, ...]] = {}
    for one, name in zip(surveys, names, strict=True):
        for split, entries in one.splits.items():
            usual = usual_name(split)
            renamed = tuple(dataclasses.replace(e, name=f"{name}/{e.name}", split=usual) for e in entries)
            splits[usual] = (*splits.get(usual, ()), *renamed)
        for check, examples in one.problems.items():
            problems[check] = (*problems.get(check, ()), *examples)
    return Survey(
        name="+".join(names),
        format="+".join(dict.fromkeys(one.format for one in surveys)),
        splits=splits,
        training=surveys[0].training,
        listed=tuple(dict.fromkeys(label for one in surveys for label in one.listed)),
        problems=problems,
        unlisted=tuple(photo for one in surveys for photo in one.unlisted),
        notes=tuple(f"{name}: {note}" for one, name in zip(surveys, names, strict=True) for note in one.notes),
    )
