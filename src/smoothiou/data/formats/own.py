"""A data set of one's own: `package.module:object`, code that gives images with boxes. No torch.

The object is called without arguments and returns the records of each split:

    def photos():
        return {"train": [photo_record("a.jpg", [Box(xyxy=(1, 2, 30, 40), label="cat")])], "test": [...]}
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from smoothiou.data.faults import fit_boxes, refuse_dropped, refuse_repeated
from smoothiou.data.formats.base import Entry, Format, Options, Problems, record_entry
from smoothiou.data.images import image_size, read_header
from smoothiou.data.records import Box, Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import find_split, in_usual_order, not_in_train
from smoothiou.errors import DataError
from smoothiou.import_object import IN_PROCESS, import_object

_HINT = "photo_record(path, boxes) makes a record, with its size."


class Own(Format):
    """The records that a function of one's own returns, checked as those of any format."""

    format = "own"
    is_path = False

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self.name = str(path).rpartition(":")[2]
        self._records = _records(str(path))
        self.splits = in_usual_order(self._records)

    @classmethod
    def fits(cls, path: Path) -> bool:
        return is_code(str(path))

    def has_boxes(self, split: str) -> bool:
        return any(record.boxes for record in self._records[split])

    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set().union(*self.labels("").values())))

    def labels(self, split: str) -> dict[str, set[str]]:
        return {
            part: {box.label for record in records for box in record.boxes} for part, records in self._records.items()
        }

    def entries(self, split: str) -> list[Entry]:
        entries = (record_entry(record, split) for record in self._records[split])
        return [dataclasses.replace(e, photo=read_header(e.path)) if e.path else e for e in entries]

    def read(self, split: str, *, allow_dropped: int) -> Dataset:
        split = find_split(split, self.splits, data=self.name)
        records: list[Record] = []
        faults: list[Fault] = []
        for record in self._records[split]:
            boxes, wrong = fit_boxes(record.boxes, width=record.width, height=record.height)
            records.append(dataclasses.replace(record, boxes=boxes))
            faults += wrong
        refuse_dropped(faults, allow_dropped=allow_dropped, data=self.name)
        return Dataset(
            name=self.name,
            format=self.format,
            split=split,
            classes=self.classes(),
            records=tuple(records),
            faults=tuple(faults),
            notes=tuple(not_in_train(self.labels(split), split)),
        )


def photo_record(path: str | Path, boxes: Iterable[Box] = (), *, name: str = "") -> Record:
    """Return the record of an image file, whose size is read from its header.

    Args:
        path: of the image.
        boxes: in pixels as stored, 0-based with an open end.
        name: by which results name it; the path by default. No two of a split may have one name.

    Raises:
        DataError: the file is missing, or no image.
    """
    width, height = image_size(Path(path))
    return Record(
        name=name or str(path), source=ImageFile(Path(path)), width=width, height=height, boxes=tuple(boxes)
    )  # fmt: skip


def is_code(text: str) -> bool:
    """Return whether DATA names an object of an importable module, and no path; nothing is imported."""
    if text.startswith(IN_PROCESS):
        return True
    match = re.fullmatch(r"([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*", text)
    if not match or os.path.exists(text) or os.path.exists(text.rpartition(":")[0]):
        return False
    try:
        return importlib.util.find_spec(match[1]) is not None
    except (ImportError, ValueError):
        return False


def _records(name: str) -> dict[str, tuple[Record, ...]]:
    """Return what the object returns, checked for its form.

    Raises:
        DataError: it fails, or returns anything but records of unique names by split.
    """
    function = import_object(name)
    try:
        splits = function()
    except Exception as error:
        raise DataError(f"{name} fails: {type(error).__name__}: {error}.") from error
    if not isinstance(splits, Mapping) or not splits:
        raise DataError(
            f"{name}: expected a dictionary of records by split, got {type(splits).__name__}.",
            hint='Return {"train": [photo_record(...), ...], "test": [...]}.',
        )
    checked: dict[str, tuple[Record, ...]] = {}
    for split, given in splits.items():
        try:
            records = tuple(given)
        except Exception as error:  # code of anyone
            raise DataError(f"{name}: {split}: {type(error).__name__}: {error}.", hint=_HINT) from error
        if str(split) in checked:
            raise DataError(f"{name}: two splits are called {split}.", hint="Names must differ.")
        names = set[str]()
        photos: dict[str, list[str]] = {}
        for number, record in enumerate(records):
            if not isinstance(record, Record):
                raise DataError(f"{name}: {split}[{number}]: expected a Record, got {type(record).__name__}.")
            if not isinstance(record.name, str) or not record.name:
                raise DataError(f"{name}: {split}[{number}]: expected a name, got {record.name!r}.", hint=_HINT)
            if record.name in names:
                raise DataError(f"{name}: {split} has two images called {record.name}.", hint="Names must differ.")
            names.add(record.name)
            if isinstance(record.source, ImageFile):
                photos.setdefault(os.path.realpath(record.source.path), []).append(record.name)
        refuse_repeated(photos, data=f"{name}: {split}")
        checked[str(split)] = tuple(_checked(record, f"{name}: {split}[{n}]") for n, record in enumerate(records))
    return checked


def _checked(record: Record, where: str) -> Record:
    """Return a record whose boxes have Python's own numbers and flags.

    Raises:
        DataError: a box is none, or its size, flags or label are not what they are said to be.
    """
    if isinstance(record.source, ImageFile):
        size, given = image_size(record.source.path), (record.width, record.height)
        if size != given:
            got = f"{given[0]!r} x {given[1]!r}"
            raise DataError(f"{where}: expected the size of its file, {size[0]} x {size[1]}, got {got}.", hint=_HINT)
        record = dataclasses.replace(record, width=size[0], height=size[1])  # where they were 100.0 x 80.0
    elif not all(isinstance(side, Integral) and side > 0 for side in (record.width, record.height)):
        got = f"{record.width!r} x {record.height!r}"
        raise DataError(f"{where}: expected its width and height in pixels, got {got}.", hint=_HINT)
    if not isinstance(record.boxes, Sequence):
        raise DataError(f"{where}: expected boxes, got {type(record.boxes).__name__}.", hint=_HINT)
    boxes = []
    for number, box in enumerate(record.boxes):
        of_box = f"{where}: box {number}"
        if not isinstance(box, Box):
            raise DataError(f"{of_box}: expected a Box, got {type(box).__name__}.", hint=_HINT)
        if not isinstance(box.label, str) or not box.label:
            raise DataError(f"{of_box}: label: expected the name of a class, got {box.label!r}.")
        for flag in ("difficult", "crowd"):
            if not isinstance(getattr(box, flag), (bool, np.bool_)):
                raise DataError(f"{of_box}: {flag}: expected True or False, got {getattr(box, flag)!r}.")
        sides = tuple(box.xyxy) if isinstance(box.xyxy, Iterable) else ()
        if len(sides) != 4 or not all(isinstance(side, Real) for side in sides):
            raise DataError(f"{of_box}: xyxy: expected four numbers, got {box.xyxy!r}.")
        left, top, right, bottom = map(float, sides)
        flags = {"difficult": bool(box.difficult), "crowd": bool(box.crowd)}
        boxes.append(dataclasses.replace(box, xyxy=(left, top, right, bottom), **flags))
    return dataclasses.replace(record, boxes=tuple(boxes))
