"""A repaired copy of a data set: COCO files, images, and a line for every change. Never in place. No torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from smoothiou.data.coco import file_split
from smoothiou.data.doctor.case import SMALLEST
from smoothiou.data.doctor.check_boxes import FAR
from smoothiou.data.doctor.check_classes import spellings, unused_class
from smoothiou.data.doctor.check_files import is_turned, same_photo
from smoothiou.data.doctor.examine import Report
from smoothiou.data.doctor.facts import Entry
from smoothiou.data.doctor.photos import ENDINGS
from smoothiou.data.export import to_coco
from smoothiou.data.faults import fit_box
from smoothiou.data.images import SUFFIXES, _types, read_image
from smoothiou.data.merge import folders
from smoothiou.data.records import Box, Dataset, ImageFile, Record
from smoothiou.data.splits import usual_name
from smoothiou.errors import ConfigError, DataError
from smoothiou.inputs import Limits, allowing
from smoothiou.runs import unwritable, write_json, write_text

COLUMNS = ("split", "image", "place", "check", "change")
ENTRIES = {
    "unreadable-annotation": "the entry was left out",
    "unknown-label": "the box was left out",
    "unknown-image": "the box was left out",
    "duplicate-id": "numbered anew",
    "duplicate-name": "joined with the other entry",
    "column-order": "read as they were meant",
}
"""What is done to entries of annotation files that the scan did not take as they are."""
PLAIN = ("RGB", "L")
"""Modes of images that are copied as they are."""
_MEASURED_FIRST = ("test", "val")


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
class _Log:
    """The changes made so far."""

    changes: list[Change] = field(default_factory=list)

    def add(self, entry: Entry, check: str, change: str, *, place: str = "") -> None:
        self.changes.append(Change(entry.split, entry.name, place, check, change))


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
    log = _Log()
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
        _write_log(temporary / "fixes.csv", log.changes)
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


# ---- which images


def _kept(report: Report, log: _Log) -> dict[str, list[Entry]]:
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


def _spellings(report: Report, log: _Log) -> dict[str, str]:
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


# ---- what is written


def _write(
    report: Report,
    splits: dict[str, list[Entry]],
    names: dict[str, str],
    folder: Path,
    log: _Log,
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
            boxes, turn, size = _boxes(entry, names, log)
            name = _copy(entry, folder / "images" / called, turn=turn, taken=taken, log=log)
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


def _boxes(entry: Entry, names: dict[str, str], log: _Log) -> tuple[tuple[Box, ...], bool, tuple[int, int]]:
    """Return the boxes of an image as they are written, whether its pixels are turned, and its size then."""
    shot = entry.photo
    assert shot is not None
    size, turn, scale = (shot.width, shot.height), False, (1.0, 1.0)
    if entry.annotated is not None and entry.annotated != size:
        told = f"{entry.annotated[0]} x {entry.annotated[1]}"
        if is_turned(entry):
            turn, size = True, (shot.height, shot.width)
            log.add(entry, "size-mismatch", f"the picture was turned to {told}, as it was annotated", place=entry.where)
        elif _was_resized(entry, size):
            scale = (size[0] / entry.annotated[0], size[1] / entry.annotated[1])
            change = f"boxes scaled by {scale[0]:.4g}, {scale[1]:.4g} from {told}: only so do they fit"
            log.add(entry, "size-mismatch", change, place=entry.where)
        else:
            log.add(entry, "size-mismatch", f"the size {told} became {size[0]} x {size[1]}", place=entry.where)
    kept: list[Box] = []
    for box in entry.boxes:
        mended = _box(box, entry, size=size, scale=scale, log=log)
        if mended is None:
            continue
        if any(mended.xyxy == other.xyxy and mended.label == other.label for other in kept):
            log.add(entry, "duplicate-box", f"removed: another {box.label} has its corners", place=box.where)
            continue
        kept.append(mended)
    return tuple(dataclasses.replace(box, label=names.get(box.label, box.label)) for box in kept), turn, size


def _box(box: Box, entry: Entry, *, size: tuple[int, int], scale: tuple[float, float], log: _Log) -> Box | None:
    """Return a box that fits its image, or None if nothing of it is left."""
    x1, y1, x2, y2 = (side * scale[axis % 2] for axis, side in enumerate(box.xyxy))
    if (x2 < x1 or y2 < y1) and min(abs(x2 - x1), abs(y2 - y1)) >= SMALLEST:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        log.add(entry, "inverted-box", f"corners put in order ({_four(box.xyxy)} before)", place=box.where)
    fitted, fault = fit_box(dataclasses.replace(box, xyxy=(x1, y1, x2, y2)), width=size[0], height=size[1])
    if fitted is None:
        assert fault is not None
        check = "no-area" if fault.kind == "no-area" else "outside-image"
        log.add(entry, check, f"box removed: it {fault.message}", place=box.where)
        return None
    if fault is not None:
        check = "outside-image" if fault.pixels > FAR else "overhang"
        log.add(entry, check, f"clipped by {fault.pixels:.4g} pixels ({_four(box.xyxy)} before)", place=box.where)
    if max(x2 - x1, y2 - y1) <= 1.0:
        log.add(entry, "point-box", f"box removed: {_four(box.xyxy)} is a pixel at most", place=box.where)
        return None
    return fitted


def _was_resized(entry: Entry, size: tuple[int, int]) -> bool:
    """Return whether boxes fit the annotated size and not the file's, which has the same shape."""
    assert entry.annotated is not None
    if min(entry.annotated) <= 0:
        return False
    wide, high = (has / told for has, told in zip(size, entry.annotated, strict=True))
    same_shape = abs(wide - high) * max(entry.annotated) <= 2
    return same_shape and not _fits(entry.boxes, size) and _fits(entry.boxes, entry.annotated)


def _fits(boxes: Iterable[Box], size: tuple[int, int]) -> bool:
    return all(
        min(x1, y1) >= -FAR and max(x1, x2) <= size[0] + FAR and max(y1, y2) <= size[1] + FAR
        for x1, y1, x2, y2 in (box.xyxy for box in boxes)
    )


def _four(corners: Iterable[float]) -> str:
    return ", ".join(f"{corner:g}" for corner in corners)


def _copy(entry: Entry, folder: Path, *, turn: bool, taken: set[str], log: _Log) -> str:
    """Write one image, and return its name in the folder: the same bytes, unless its pixels must change."""
    shot = entry.photo
    assert shot is not None
    assert shot.path is not None
    stem = PurePosixPath(entry.name.replace("\\", "/"))
    if stem.suffix.lower() in SUFFIXES:
        stem = stem.with_suffix("")
    turned = turn or shot.orientation != 1
    plain = shot.mode in PLAIN and not turned
    suffix = shot.path.suffix if plain else (".jpg" if shot.kind in ("JPEG", "MPO") and shot.mode in PLAIN else ".png")
    if plain and suffix.lower() not in ENDINGS[shot.kind]:
        log.add(entry, "wrong-ending", f"{suffix} became {ENDINGS[shot.kind][0]}: it holds {shot.kind} data")
        suffix = ENDINGS[shot.kind][0]
    name = _free(f"{stem}", suffix, taken)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if plain:
        shutil.copyfile(shot.path, path)
        return name
    if turned:
        what = "turned as EXIF says" if turn else "kept as they are stored"
        log.add(entry, "exif-rotation", f"pixels {what}, and written without the mark as {suffix}")
    else:
        log.add(entry, "not-rgb", f"{shot.mode} ({shot.kind}) became RGB ({suffix})")
    if suffix == ".jpg":
        _pixels(shot.path, turn=turn).save(path, quality=95, subsampling=0)
    else:
        _pixels(shot.path, turn=turn).save(path)
    return name


def _pixels(path: Path, *, turn: bool) -> Image.Image:
    pixels = read_image(path)
    if not turn:
        clean = Image.new("RGB", pixels.size)
        clean.paste(pixels)  # without EXIF, palette and profile
        return clean
    with Image.open(path, formats=_types()) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _free(stem: str, suffix: str, taken: set[str]) -> str:
    """Return a name that no other image of the split has, in any case of letters."""
    name, number = f"{stem}{suffix}", 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.casefold())
    return name


def _write_log(path: Path, changes: list[Change]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(dataclasses.astuple(change) for change in changes)
    write_text(path, buffer.getvalue())
