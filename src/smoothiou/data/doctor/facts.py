"""What the doctor knows of a data set before it judges: every image file and every box as annotated. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smoothiou.data.records import Box
from smoothiou.data.splits import in_usual_order, usual_name
from smoothiou.errors import DataError

Kept = Literal["read", "missing", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """An image file, from its header alone.

    Args:
        path: of the file; None for an image that is drawn, or of which only the size is known.
        width: as stored, in pixels.
        height: as stored, in pixels.
        kind: what its content is ("JPEG"), whatever its name ends in; "" where no header was read.
        mode: Pillow's word for its channels ("RGB", "L", "RGBA", "P", ...).
        orientation: EXIF's number, 1 to 8; 1 for an image that is to be shown as it is stored.
        problem: why the header cannot be read; "" if it can.
    """

    path: Path | None
    width: int = 0
    height: int = 0
    kind: str = ""
    mode: str = "RGB"
    orientation: int = 1
    problem: str = ""

    @property
    def turned(self) -> bool:
        """Whether viewers that obey EXIF show it with width and height exchanged."""
        return self.orientation >= 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One image of one split.

    Args:
        name: as a reader of the data set calls it.
        split: where it is listed.
        where: its annotation, for messages.
        boxes: as annotated, 0-based with an open end, neither clipped nor checked.
        annotated: the image's size according to the annotation, if it tells one.
        photo: its file; None if there is none.
        annotation: whether its annotation was read, is missing, or cannot be read.
        sure: whether it is certain that these are its boxes; not so where two images have one id.
    """

    name: str
    split: str
    where: str
    boxes: tuple[Box, ...] = ()
    annotated: tuple[int, int] | None = None
    photo: Photo | None = None
    annotation: Kept = "read"
    sure: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height: the file's, or else what the annotation says."""
        if self.photo is not None and not self.photo.problem:
            return self.photo.width, self.photo.height
        return self.annotated if self.annotated and min(self.annotated) > 0 else None

    @property
    def path(self) -> Path | None:
        """The image file, if there is one."""
        return self.photo.path if self.photo else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One place where something is wrong.

    Args:
        where: the file, and the box or line in it.
        message: one clause: "has no area (x 3 to 3, y 4 to 9)".
        entry: the image, if there is one to show.
        boxes: the boxes meant, if any.
        other: a second image, where two are compared.
    """

    where: str
    message: str
    entry: Entry | None = None
    boxes: tuple[Box, ...] = ()
    other: Entry | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """A data set as found, with nothing left out.

    Args:
        name: short name of the data set.
        format: "voc" | "coco" | "pets" | "udacity" | "shapes"; of merged data sets, all, joined by "+".
        splits: the images of each split, in the order of its list.
        listed: class names that the data set lists, whether or not a box has them; empty where it lists none.
        problems: what the scan itself met, by the id of the check.
        unlisted: image files beside the others that no split names.
        notes: what was decided while reading, one sentence each.
        labels: which labels were asked for, where there are several.
    """

    name: str
    format: str
    splits: Mapping[str, tuple[Entry, ...]]
    listed: tuple[str, ...] = ()
    problems: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    unlisted: tuple[Photo, ...] = ()
    notes: tuple[str, ...] = ()
    labels: str = ""

    def once(self) -> Iterator[Entry]:
        """Give every image once, also where several splits list it."""
        seen = set()
        for split in in_usual_order(self.splits):
            for entry in self.splits[split]:
                key = (entry.name, entry.path)
                if key not in seen:
                    seen.add(key)
                    yield entry

    def parts(self) -> dict[str, tuple[Entry, ...]]:
        """Return the splits that are meant to have no image in common: without trainval beside train and val."""
        usual = {usual_name(split) for split in self.splits}
        whole = {"train", "val"} <= usual
        return {
            split: self.splits[split]
            for split in in_usual_order(self.splits)
            if not (whole and usual_name(split) == "trainval")
        }


def bare_message(error: Exception, path: Path) -> str:
    """Return what an error says, without the path that stands before it."""
    text = error.message if isinstance(error, DataError) else str(error)
    return text.removeprefix(str(path)).lstrip(":, ").rstrip(".")
