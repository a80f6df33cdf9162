"""A repaired copy of a data set: COCO files, images, and a line for every change. Never in place. No torch.

changes     what was done, line by line
mend_boxes  boxes that fit their image again
copy_image  the same bytes where they are plain, else the same pixels
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from smoothiou.data.coco import file_split
from smoothiou.data.doctor.changes import Change, Log
from smoothiou.data.doctor.check_classes import spellings, unused_class
from smoothiou.data.doctor.check_files import same_photo
from smoothiou.data.doctor.copy_image import copy_image
from smoothiou.data.doctor.examine import Report
from smoothiou.data.doctor.facts import Entry
from smoothiou.data.doctor.mend_boxes import mend_boxes
from smoothiou.data.export import to_coco
from smoothiou.data.merge import folders
from smoothiou.data.records import Dataset, ImageFile, Record
from smoothiou.data.splits import usual_name
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import Limits, allowing, unwritable, write_json

ENTRIES = {
    "unreadable-annotation": "the entry was left out",
    "unknown-label": "the box was left out",
    "unknown-image": "the box was left out",
    "duplicate-id": "numbered anew",
    "duplicate-name": "joined with the other entry",
    "column-order": "read as they were meant",
}
"""What is done to entries of annotation files that the scan did not take as they are."""
_MEASURED_FIRST = ("test", "val")


def repair(report: Report, out: str | Path, *, progress: Callable[[int, int], None] | None = None) -> list[Change]:
    """Write a repaired copy of a data set, and return every change.

        OUT/annotations/instances_SPLIT.json, OUT/images/SPLIT/..., OUT/fixes.csv

    The copy appears as a whole or not at all: it is made in a folder beside it, which is then renamed.

    Args:
        report: an examination with all checks, so that images which cannot be decoded are known.
        out: a folder that does not exist, or is empty.
        progress: is told how many of how many images are written.

    Raises:
        ConfigError: the folder holds something.
        DataError: nothing is left to be written.
        SmoothIoUError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    refuse_taken(out, data="")
    log = Log()
    splits = _kept(report, log)
    names = _spellings(report, log)
    if not any(splits.values()):
        raise DataError(f"{report.case.survey.name}: no image with a readable annotation is left to be copied.")
    config = report.case.config
    temporary = Path()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.{os.getpid()}.", suffix=".part"))
        with allowing(Limits(pixels=config.data.max_pixels, links=config.data.follow_links)):
            _write(report, splits, names, temporary, log, progress)
        log.write(temporary / "fixes.csv")
        os.chmod(temporary, 0o755)
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        if temporary != Path():
            shutil.rmtree(temporary, ignore_errors=True)
    return log.changes


def refuse_taken(out: Path, *, data: str) -> None:
    """Stop before anything is written into a folder that holds something, or into the data itself.

    Args:
        out: where the copy would go.
        data: the source, as the user names it; "" if that was asked before.

    Raises:
        ConfigError: it does, it is a file, or it lies in the source.
    """
    for home in folders(data) if data else ():
        if out.resolve().is_relative_to(Path(home.folder).expanduser().resolve()):
            raise ConfigError(f"--fix {out}: it lies in {home.folder}, which is not written to.", hint="Name another.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--fix {out}: it exists and is not an empty folder.", hint="Name a new folder.")


def _kept(report: Report, log: Log) -> dict[str, list[Entry]]:
    """Return the images of each split that are copied; of a photo in two splits, that which is measured on."""
    leaks = _leaks(report)
    kept: dict[str, list[Entry]] = {}
    for split, entries in report.case.parts.items():
        if not any(entry.boxes for entry in entries):
            if entries:
                log.add(entries[0], "empty-split", f"the split and its {len(entries)} images were left out")
            continue
        kept[split] = []
        for entry in entries:
            reason = _reason(entry, report)
            if reason:
                log.add(entry, *reason, place=entry.where)
            elif (split, entry.name) in leaks:
                twin = leaks[split, entry.name]
                log.add(entry, "same-photo", f'left out: it is {twin.name} of the split "{twin.split}"')
            else:
                kept[split].append(entry)
    written = {entry.name for entries in kept.values() for entry in entries}
    for entry in report.case.entries:
        if entry.split not in report.case.parts and entry.name not in written:
            log.add(entry, *(_reason(entry, report) or ("unlisted-image", "left out: it is in no other split")))
    return {split: entries for split, entries in kept.items() if entries}


def _reason(entry: Entry, report: Report) -> tuple[str, str] | None:
    """Return the check and the words for leaving an image out, or None."""
    looks = report.case.looks
    if entry.photo is None:
        return "missing-image", "the annotation was left out: its image is not there"
    if entry.annotation == "broken":
        return "unreadable-annotation", "the image was left out: its annotation cannot be read"
    if entry.annotation == "missing":
        return "missing-annotation", "the image was left out: it has no annotation"
    problem = entry.photo.problem or (looks[entry.path].problem if entry.path and entry.path in looks else "")
    if problem or entry.path is None:
        return "unreadable-image", f"the image was left out: it {problem or 'has no file'}"
    if not entry.sure:
        return "duplicate-id", "the image was left out: another has its id, and their boxes cannot be told apart"
    return None


def _leaks(report: Report) -> dict[tuple[str, str], Entry]:
    """Return the images that are in a split that is measured on, too, each with its twin there."""
    found: dict[tuple[str, str], Entry] = {}
    for example in same_photo(report.case):
        pair = [entry for entry in (example.entry, example.other) if entry]
        first, second = sorted(pair, key=lambda entry: _rank(entry.split))
        found[second.split, second.name] = first
    return found


def _rank(split: str) -> int:
    """Return how late a split gives a photo up: test last, then val."""
    usual = usual_name(split)
    return _MEASURED_FIRST.index(usual) if usual in _MEASURED_FIRST else len(_MEASURED_FIRST)


def _spellings(report: Report, log: Log) -> dict[str, str]:
    """Return, for each class name that is spelt in several ways, the most frequent way."""
    counts = Counter(box.label for entry in report.case.entries for box in entry.boxes)
    names: dict[str, str] = {}
    for group in spellings(set(counts)):
        best = max(group, key=lambda name: (counts[name], name))
        for name in group:
            if name != best:
                names[name] = best
                log.changes.append(Change("", "", name, "class-spelling", f'{counts[name]} x "{name}" became "{best}"'))
    return names


def _write(
    report: Report,
    splits: dict[str, list[Entry]],
    names: dict[str, str],
    folder: Path,
    log: Log,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write images and COCO files."""
    total, done = sum(map(len, splits.values())), 0
    records: dict[str, list[Record]] = {}
    for split, entries in splits.items():
        taken: set[str] = set()
        # As the reader takes it from the name of the file.
        called = file_split(folder / "annotations" / f"instances_{split}.json", folder)
        for entry in entries:
            boxes, turn, size = mend_boxes(entry, names, log)
            name = copy_image(entry, folder / "images" / called, turn=turn, taken=taken, log=log)
            records.setdefault(split, []).append(
                Record(name=name, source=ImageFile(folder), width=size[0], height=size[1], boxes=boxes)
            )
            done += 1
            if progress:
                progress(done, total)
    used = {box.label for found in records.values() for record in found for box in record.boxes}
    listed = [names.get(name, name) for name in report.case.survey.listed]
    classes = tuple(dict.fromkeys(name for name in (*listed, *sorted(used)) if name in used))
    survey = report.case.survey
    logged = {(line.check, line.place) for line in log.changes}
    for check, change in ENTRIES.items():
        for example in survey.problems.get(check, ()):
            if (check, example.where) not in logged:
                log.changes.append(Change("", "", example.where, check, f"{change}: {example.message}"))
    for example in unused_class(report.case):
        log.changes.append(Change("", "", example.where, "unused-class", "left out of the list of classes"))
    for split, found in records.items():
        dataset = Dataset(
            name=survey.name, format=survey.format, split=split, classes=classes, records=tuple(found)
        )  # fmt: skip
        write_json(folder / "annotations" / f"instances_{split}.json", to_coco(dataset))
