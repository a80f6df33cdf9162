"""What a repair has changed, line by line: fixes.csv. No torch."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass, field
from pathlib import Path

from smoothiou.data.doctor.facts import Entry
from smoothiou.files import write_text

COLUMNS = ("split", "image", "place", "check", "change")


@dataclass(frozen=True, slots=True)
class Change:
    """One line of fixes.csv.

    Args:
        split: of the image.
        image: its name in the source.
        place: of the box, or of the annotation; may be empty.
        check: whose finding it mends.
        change: what was done.
    """

    split: str
    image: str
    place: str
    check: str
    change: str


@dataclass
class Log:
    """The changes made so far."""

    changes: list[Change] = field(default_factory=list)

    def add(self, entry: Entry, check: str, change: str, *, place: str = "") -> None:
        """Add a change of an image, or of a box at a place."""
        self.changes.append(Change(entry.split, entry.name, place, check, change))

    def write(self, path: Path) -> None:
        """Write all changes as CSV."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(dataclasses.astuple(change) for change in self.changes)
        write_text(path, buffer.getvalue())
