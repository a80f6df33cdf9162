"""A repaired copy of a data set: COCO files, images, and a line for every change. Never in place. No torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smoothiou.data.doctor.checks_classes import spellings, unused_class
from smoothiou.data.doctor.checks_files import duplicate_image, image_problem, same_photo
from smoothiou.data.doctor.examine import Report
from smoothiou.data.doctor.repair_boxes import repair_boxes
from smoothiou.data.doctor.repair_image import copy_image
from smoothiou.data.doctor.survey import Survey
from smoothiou.data.export import to_coco
from smoothiou.data.faults import is_too_long
from smoothiou.data.formats.base import Entry
from smoothiou.data.formats.coco import file_split
from smoothiou.data.merge import folders
from smoothiou.data.records import Dataset, ImageFile, Record
from smoothiou.data.splits import usual_name
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import allowing, unwritable, write_json, write_text
from smoothiou.words import counted

SCANNED = {
    "unreadable-annotation": "the entry was left out",
    "unknown-label": "the box was left out",
    "unknown-image": "the box was left out",
    "duplicate-id": "numbered anew",
    "duplicate-name": "joined with the other entry",
    "column-order": "read as they were meant",
}
"""What is done about the problems of annotation files that the survey met."""
COLUMNS = ("split", "image", "place", "check", "change")


@dataclass(frozen=True, slots=True)
class Change:
    """One line of fixes.csv: a change of an image, or of a box or annotation at a place, and the check it is due to."""

    split: str
    image: str
    place: str
    check: str
    change: str


class _Log(list[Change]):
    """The changes so far."""

    def note(self, entry: Entry, check: str, change: str, *, place: str = "") -> None:
        self.append(Change(entry.split, entry.name, place, check, change))

    def write(self, path: Path) -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(dataclasses.astuple(change) for change in self)
        write_text(path, buffer.getvalue())


def repair(
    report: Report, out: str | Path, *, drop_copies: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[Change]:
    """Write a repaired copy of a data set, and return every change.

        OUT/annotations/instances_SPLIT.json, OUT/images/SPLIT/..., OUT/fixes.csv

    The copy appears as a whole or not at all: it is made in a folder beside it, which is then renamed.

    Args:
        report: an examination with all checks, so that images which cannot be decoded are known.
        out: a folder that does not exist, or is empty.
        drop_copies: of files of the same bytes in one split, copy the first alone.
        progress: called with the number of images written and of all.

    Raises:
        ConfigError: the folder holds something.
        DataError: nothing is left to be written.
        SmoothIoUError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    refuse_taken(out, data="")
    log = _Log()
    splits = _usable_entries(report.survey, log, drop_copies=drop_copies)
    names = _new_names(report.survey, log)
    if not splits:
        raise DataError(f"{report.survey.name}: no image with a readable annotation is left to be copied.")
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.{os.getpid()}.", suffix=".part"))
        with allowing(report.limits):
            _write(report.survey, splits, names, temporary, log, progress)
        log.write(temporary / "fixes.csv")
        os.chmod(temporary, 0o755)
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return list(log)


def refuse_taken(out: Path, *, data: str) -> None:
    """Stop before anything is written into a folder that holds something, or into the data itself.

    Args:
        out: where the copy would go.
        data: the source, as the user names it; "" to check `out` alone.

    Raises:
        ConfigError: it does, it is a file, or it lies in the source.
    """
    for source in folders(data) if data else ():
        if out.resolve().is_relative_to(Path(source.folder).expanduser().resolve()):
            raise ConfigError(
                f"--fix {out}: it lies in {source.folder}, which is not written to.", hint="Name another."
            )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--fix {out}: it exists and is not an empty folder.", hint="Name a new folder.")


def _usable_entries(data: Survey, log: _Log, *, drop_copies: bool) -> dict[str, list[Entry]]:
    """Return the images of each split that are copied; a photo in two splits stays in test, else in val."""
    leaks = _leaks(data)
    pairs = [(copy.entry, copy.other) for copy in duplicate_image(data)] if drop_copies else []
    copies = {(entry.split, entry.name): first for entry, first in pairs if entry and first}
    usable: dict[str, list[Entry]] = {}
    for split, entries in data.parts.items():
        if all(box.ignored for entry in entries for box in entry.boxes):
            if entries:
                log.note(entries[0], "empty-split", f"the split was left out, with {counted(len(entries), 'image')}")
            continue
        for entry in entries:
            if reason := _reason_to_leave_out(entry, data):
                log.note(entry, *reason, place=entry.where)
            elif twin := leaks.get((split, entry.name)):
                log.note(entry, "same-photo", f'left out: it is {twin.name} of the split "{twin.split}"')
            elif first := copies.get((split, entry.name)):
                log.note(entry, "duplicate-image", f"left out: it has the bytes of {first.name}, whose boxes are kept")
            else:
                usable.setdefault(split, []).append(entry)
    written = {entry.name for entries in usable.values() for entry in entries}
    for entry in data.entries:
        if entry.split not in data.parts and entry.name not in written:
            log.note(
                entry, *(_reason_to_leave_out(entry, data) or ("unlisted-image", "left out: it is in no other split"))
            )
    return usable


def _reason_to_leave_out(entry: Entry, data: Survey) -> tuple[str, str] | None:
    """Return the check and the words for leaving an image out, or None."""
    if entry.photo is None:
        return "missing-image", "the annotation was left out: its image does not exist"
    if entry.annotation == "broken":
        return "unreadable-annotation", "the image was left out: its annotation cannot be read"
    if entry.annotation == "missing":
        return "missing-annotation", "the image was left out: it has no annotation"
    problem = image_problem(entry, data)
    if problem or entry.path is None:
        return "unreadable-image", f"the image was left out: {problem or 'it has no file'}"
    if is_too_long(*(entry.size or (1, 1)), max_size=data.training.max_size):
        return "long-image", "the image was left out: its short side would vanish at training resolution"
    if not entry.sure:
        return "duplicate-id", "the image was left out: another has its id, and their boxes cannot be told apart"
    return None


def _leaks(data: Survey) -> dict[tuple[str, str], Entry]:
    """Return the images that are left out because they are in test or val, too, each with its twin there."""
    precedence = {"test": 0, "val": 1}  # a photo stays in test, else in val
    leaks: dict[tuple[str, str], Entry] = {}
    for example in same_photo(data):
        pair = [entry for entry in (example.entry, example.other) if entry]
        first, second = sorted(pair, key=lambda entry: precedence.get(usual_name(entry.split), 2))
        leaks[second.split, second.name] = first
    return leaks


def _new_names(data: Survey, log: _Log) -> dict[str, str]:
    """Return, for each class name that is spelt in several ways, the most frequent way."""
    counts = Counter(box.label for entry in data.entries for box in entry.boxes)
    names: dict[str, str] = {}
    for group in spellings(set(counts)):
        best = max(group, key=lambda name: (counts[name], name))
        for name in (name for name in group if name != best):
            names[name] = best
            log.append(Change("", "", name, "class-spelling", f'{counts[name]} x "{name}" became "{best}"'))
    return names


def _write(
    data: Survey,
    splits: dict[str, list[Entry]],
    names: dict[str, str],
    folder: Path,
    log: _Log,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write images and COCO files."""
    total, written = sum(map(len, splits.values())), 0
    records: dict[str, list[Record]] = {split: [] for split in splits}
    for split, entries in splits.items():
        names_taken: set[str] = set()
        # As the reader takes it from the name of the file.
        images = folder / "images" / file_split(folder / "annotations" / f"instances_{split}.json", folder)
        for entry in entries:
            boxes, turn, (width, height) = repair_boxes(entry, log.note)
            boxes = tuple(dataclasses.replace(box, label=names.get(box.label, box.label)) for box in boxes)
            name = copy_image(entry, images, turn=turn, taken=names_taken, note=log.note)
            records[split].append(Record(name=name, source=ImageFile(folder), width=width, height=height, boxes=boxes))
            written += 1
            if progress:
                progress(written, total)
    used = {box.label for part in records.values() for record in part for box in record.boxes}
    listed = [names.get(name, name) for name in data.listed]
    classes = tuple(dict.fromkeys(name for name in (*listed, *sorted(used)) if name in used))
    logged = {(line.check, line.place) for line in log}
    for check, change in SCANNED.items():
        for example in data.problems.get(check, ()):
            if (check, example.where) not in logged:
                log.append(Change("", "", example.where, check, f"{change}: {example.message}"))
    for example in unused_class(data):
        log.append(Change("", "", example.where, "unused-class", "left out of the list of classes"))
    for split, part in records.items():
        dataset = Dataset(name=data.name, format=data.format, split=split, classes=classes, records=tuple(part))
        write_json(folder / "annotations" / f"instances_{split}.json", to_coco(dataset))
