"""What every format provides: images with boxes as annotated, split by split, for readers and for the doctor. No torch.

A reader stops at the first fault; the doctor asks for the same entries with `Problems(lenient=True)` and goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from smoothiou.data.copies import Locate, group_copies
from smoothiou.data.faults import (
    first_names,
    fit_boxes,
    refuse_dropped,
    refuse_missing_images,
    refuse_repeated,
    size_fault,
)
from smoothiou.data.images import Photo, image_size
from smoothiou.data.records import Box, Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import CUT_SHARES, Cut, find_split, not_in_train, photo, seeded_cut
from smoothiou.errors import DataError, bare_message
from smoothiou.files import real_path
from smoothiou.words import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a data set is read; see `load_dataset`."""

    labels: str = ""
    split_seed: int = 0
    cut: Cut = "80/20"
    images: int = 300
    size: int = 128
    loose: float = 0.0
    long_tail: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One image of one split, as its annotation has it.

    Args:
        name: of its record.
        split: that lists it.
        where: its annotation, for messages.
        locate: returns the path of its image file, or None; raises a DataError if that is outside the data folder.
        boxes: as annotated, 0-based with an open end, neither clipped nor checked.
        annotated: the image's (width, height) according to the annotation, if it has one.
        annotation: whether its annotation was read, is missing, or cannot be read.
        sure: whether it is certain that these are its boxes; not so where two images have one id.
        photo: header of its file, read by the doctor; None if there is no file.
    """

    name: str
    split: str
    where: str
    locate: Locate = lambda: None
    boxes: tuple[Box, ...] = ()
    annotated: tuple[int, int] | None = None
    annotation: Literal["read", "missing", "broken"] = "read"
    sure: bool = True
    photo: Photo | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height: the file's, or else the annotation's."""
        if self.photo is not None and not self.photo.problem:
            return self.photo.width, self.photo.height
        return self.annotated if self.annotated and min(self.annotated) > 0 else None

    @property
    def path(self) -> Path | None:
        """The image file, if its header was read."""
        return self.photo.path if self.photo else None


def record_entry(record: Record, split: str) -> Entry:
    """Return a record as an entry; its file, if it has one, is not opened."""
    path = record.source.path if isinstance(record.source, ImageFile) else None
    photo = Photo(path=path, width=record.width, height=record.height)
    return Entry(name=record.name, split=split, where=record.name, boxes=record.boxes, photo=photo)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One place where something is wrong.

    Args:
        where: the file, and the box or line in it.
        message: one clause: "has no area (x 3 to 3, y 4 to 9)".
        entry: the image, if there is one to display.
        boxes: the boxes concerned, if any.
        other: a second image, where two are compared.
    """

    where: str
    message: str
    entry: Entry | None = None
    boxes: tuple[Box, ...] = ()
    other: Entry | None = None


@dataclass
class Problems:
    """What a parser does about a fault: raise it, or if `lenient` list it under the id of a doctor's check."""

    lenient: bool = False
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def report(
        self, check: str, error: DataError, *, where: str, entry: Entry | None = None, boxes: tuple[Box, ...] = ()
    ) -> None:
        """Raise an error, or list it at a place (a file's name and what is in it) that its message names."""
        if not self.lenient:
            raise error from None
        message = bare_message(error, where)
        self.examples.setdefault(check, []).append(Example(where=where, message=message, entry=entry, boxes=boxes))


def class_notes(names: Sequence[str], boxed: Collection[str], *, ids: Sequence[str], kind: str) -> list[str]:
    """Return notes on the classes that no box has, and on names that several ids ("class" or "category") have."""
    notes = []
    if empty := [name for name in names if name not in boxed]:
        notes.append(f"left out, having no box in any split: {first_names(empty)}")
    repeated = ((name, count) for name, count in Counter(ids).items() if count > 1)
    return notes + [f'{count} {kind} ids are called "{name}" and were read as one class' for name, count in repeated]


class Format(ABC):
    """A data set in one format, opened: its splits, classes, notes, and entries on request.

    Args:
        path: the data folder, or one annotation file.
        options: how it is read.
        problems: what is done about faults.
    """

    format: ClassVar[str]
    layout: ClassVar[str] = ""
    """What a folder of this format holds, for the message that nothing was recognised."""
    images_in: str = "the data folder"
    """Where images are looked for, for messages."""
    reader_notes: ClassVar[tuple[str, ...]] = ()
    """What every user of such data should know."""
    splits: tuple[str, ...]
    """All splits, in the usual order."""
    is_path: ClassVar[bool] = True
    """Whether DATA names a folder or a file."""
    usual_size: ClassVar[tuple[int, int] | None] = None
    """Width and height that the doctor assumes of an image without a file."""

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        self.path = path
        self.options = options or Options()
        self.problems = problems or Problems()
        self.name = path.resolve().name
        self.notes: list[str] = []

    @classmethod
    @abstractmethod
    def fits(cls, path: Path) -> bool:
        """Return whether a folder or file is in this format."""

    @abstractmethod
    def has_boxes(self, split: str) -> bool:
        """Return whether a split has a box, having read no more than is needed for the answer."""

    @abstractmethod
    def entries(self, split: str) -> list[Entry]:
        """Return the images of a split, in the order of its list."""

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return the class names of all splits, in a fixed order."""

    def listed_classes(self) -> tuple[str, ...]:
        """Return the names that the data set lists, whether or not a box has them, once all splits were read."""
        return ()

    def files_splits(self) -> tuple[str, ...]:
        """Return the splits in the order of their files, without other cuts of the same images."""
        return self.splits

    def labels(self, split: str) -> dict[str, set[str]]:
        """Return the class names of the boxes of each split, where a note on classes without boxes is due."""
        return {}

    def refuse_incomplete(self) -> None:  # noqa: B027, most formats need nothing here
        """Stop where an image of any split is missing, in data that is cut into splits."""

    def read(self, split: str, *, allow_dropped: int) -> Dataset:
        """Return one split as records.

        Raises:
            DataError: what the annotations, the images or the split have wrong.
        """
        split = find_split(split, self.splits, data=self.name)
        classes, entries = self.classes(), self.entries(split)
        if not any(entry.annotation == "read" for entry in entries):
            reason = f"none of its {len(entries)} images has an annotation" if entries else "its list is empty"
            raise DataError(f'{self.name}: the split "{split}" has no boxes: {reason}.', hint="Choose another split.")
        self.refuse_incomplete()
        records: list[Record] = []
        faults: list[Fault] = []
        missing: list[str] = []
        photos: dict[str, list[str]] = {}
        for entry in entries:
            if entry.annotation == "missing":
                message = "is in the list but has no annotation; the image was left out"
                faults.append(Fault(kind="missing-annotation", where=entry.name, message=message, drops=True))
            elif path := entry.locate():
                photos.setdefault(real_path(path), []).append(entry.where)
                width, height = image_size(path)
                boxes, wrong = fit_boxes(entry.boxes, width=width, height=height)
                faults += size_fault(entry.where, annotated=entry.annotated, actual=(width, height)) + wrong
                records.append(Record(name=entry.name, source=ImageFile(path), width=width, height=height, boxes=boxes))
            else:
                missing.append(entry.name)
        refuse_missing_images(missing, data=self.name, looked_in=self.images_in)
        refuse_repeated(photos, data=self.name)
        refuse_dropped(faults, allow_dropped=allow_dropped, data=self.name)
        notes = (*self.reader_notes, *self.notes, *not_in_train(self.labels(split), split))
        return Dataset(
            name=self.name,
            format=self.format,
            split=split,
            classes=classes,
            records=tuple(records),
            faults=tuple(faults),
            notes=notes,
        )

    def cut_by_seed(
        self, files: Mapping[str, Locate], *, group_of: Callable[[str], str] = photo
    ) -> dict[str, list[str]]:
        """Return the names of each part of data without splits; copies of a photo, and groups, stay in one part."""
        group, notes = group_copies(files, group_of=group_of)
        self.notes += notes
        return seeded_cut(files, seed=self.options.split_seed, shares=CUT_SHARES[self.options.cut], group_of=group)

    def note_left_out(self, names: list[str], why: str) -> None:
        """Add a note on images that are in no split."""
        if names:
            self.notes.append(f"{counted(len(names), 'image')} {why}: {first_names(names)}")
