"""Checks of annotation files, image files and splits. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from smoothiou.data.copies import content_digest
from smoothiou.data.doctor.check import Checks
from smoothiou.data.doctor.survey import Survey
from smoothiou.data.faults import is_too_long
from smoothiou.data.formats.base import Entry, Example
from smoothiou.data.images import Photo
from smoothiou.data.splits import in_usual_order, photo, usual_name
from smoothiou.words import counted

BITS = 2
"""Of 64 bits of two pictures' gradients that may differ, and ..."""
LEVELS = 3.0
"""... the mean difference of their 72 grey values, of 255, below which they look alike."""
FLAT = 4.0
"""Standard deviation of grey values below which a picture has too little structure to be compared."""
ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
}
"""Right endings of each type, the usual one first."""
CHECKS = Checks()
SCANNED: list[Example] = []
"""Result of a check all of whose examples come from reading the annotations (`Survey.problems`)."""


@CHECKS.add("error", mends="leaves its image, or the entry, out")
def unreadable_annotation(data: Survey) -> list[Example]:
    """An annotation file, or an entry of it, cannot be read, so its boxes are lost.

    Fix: Repair the file at the place named.
    """
    return SCANNED


@CHECKS.add("error", mends="leaves the image out", pixels=True)
def unreadable_image(data: Survey) -> list[Example]:
    """A file is no image, is cut off, or lies outside the data folder; training would stop at it.

    Fix: Fetch the file again, or remove its entry.
    """
    problems = ((entry, image_problem(entry, data)) for entry in data.entries)
    return [Example(where=_name(entry), message=problem, entry=entry) for entry, problem in problems if problem]


def image_problem(entry: Entry, data: Survey) -> str:
    """Return why an image file cannot be read, from its header or from decoding it; "" if it can."""
    if entry.photo is None or entry.photo.problem or not entry.path:
        return entry.photo.problem if entry.photo else ""
    return data.decoded[entry.path].problem if entry.path in data.decoded else ""


@CHECKS.add("error", mends="leaves the annotation out")
def missing_image(data: Survey) -> list[Example]:
    """An annotation names an image that does not exist.

    Fix: Add the image, or remove its annotation.
    """
    missing = (entry for entry in data.entries if entry.photo is None)
    return [Example(where=e.where, message=f"the image {e.name} does not exist", entry=e) for e in missing]


@CHECKS.add("error", mends="leaves the image out", quick=True)
def missing_annotation(data: Survey) -> list[Example]:
    """A list names an image that has no annotation, so nobody knows whether it is empty.

    Fix: Add the annotation (without objects, if the image has none), or take the name out of the list.
    """
    examples: dict[str, Example] = {}
    # A split of which no image has one is another check's.
    splits = set(data.splits) - set(_unannotated_splits(data))
    for entry in (entry for split in in_usual_order(splits) for entry in data.splits[split]):
        if entry.annotation == "missing":
            message = f'is in the list "{entry.split}", but has no annotation'
            examples.setdefault(entry.name, Example(where=entry.name, message=message, entry=entry))
    return list(examples.values())


@CHECKS.add("error", mends="leaves the split out")
def empty_split(data: Survey) -> list[Example]:
    """A split has no image, or none with a box that is a target: it can be neither trained nor measured on.

    Fix: Use another split, add its annotations, or correct the flags of its boxes.
    """
    examples = []
    unannotated = _unannotated_splits(data)
    for split in in_usual_order(set(data.splits) - set(withheld(data))):
        entries = data.splits[split]
        boxes = [box for entry in entries for box in entry.boxes]
        reason = "every box is difficult or a crowd" if boxes else "none has a box"
        reason = "none has an annotation" if split in unannotated else reason
        if all(box.ignored for box in boxes):
            message = f"has {counted(len(entries), 'image')}, of which {reason}" if entries else "has no images"
            examples.append(Example(where=split, message=message))
    return examples


def withheld(data: Survey) -> list[str]:
    """Return the test splits without any annotation, as Oxford-IIIT Pet and VOC 2012 publish them: no fault."""
    if not set(data.format.split("+")) <= {"pets", "voc"} or not any(entry.boxes for entry in data.entries):
        return []
    return [split for split in _unannotated_splits(data) if usual_name(split) == "test"]


def _unannotated_splits(data: Survey) -> list[str]:
    return [s for s, entries in data.splits.items() if entries and all(e.annotation == "missing" for e in entries)]


@CHECKS.add("error", mends="leaves the box out")
def unknown_image(data: Survey) -> list[Example]:
    """A box belongs to an image that the file does not list.

    Fix: Add the image to the file, or remove the box.
    """
    return SCANNED


@CHECKS.add("error", mends="leaves the box out")
def unknown_label(data: Survey) -> list[Example]:
    """A box has a class that is not in the list of classes.

    Fix: Add the class to the list, or correct the box.
    """
    return SCANNED


@CHECKS.add("error", mends="numbers boxes anew, and leaves out images whose boxes cannot be told apart")
def duplicate_id(data: Survey) -> list[Example]:
    """Two images, or two boxes, have one id, so that it is not certain which of them is meant.

    Fix: Number them anew.
    """
    return SCANNED


@CHECKS.add("error", mends="makes one image of them, with all boxes")
def duplicate_name(data: Survey) -> list[Example]:
    """A file is listed as two images, each with a part of its boxes; the others count as background.

    Fix: Merge the entries into one, with all boxes.
    """
    return SCANNED


@CHECKS.add("error", mends="writes the boxes as they were meant")
def column_order(data: Survey) -> list[Example]:
    """The numbers of a label file stand in another order than its header says: other readers get other boxes.

    Fix: Correct the header.
    """
    return SCANNED


@CHECKS.add("error", mends="leaves it in the split that is measured on")
def same_photo(data: Survey) -> list[Example]:
    """A photo is in two splits, so that the test has been trained on; the numbers are too good.

    Fix: Take it out of one of them, and cut copies of one photo together.
    """
    examples = []
    for (_, one), (_, other) in combinations(data.parts.items(), 2):
        find_twin, exported = _twin_finder(one), {photo(e.name): e for e in one if photo(e.name) != e.name}
        for entry in other:
            if twin := find_twin(entry) or exported.get(photo(entry.name)):
                examples.append(_pair(entry, twin, "is"))
    return examples


@CHECKS.add(
    "error", mends="writes the file's size; turns the picture, or scales the boxes, where only that makes them fit"
)
def size_mismatch(data: Survey) -> list[Example]:
    """The annotation has another size than the image: the boxes may belong to another version of it.

    Fix: Look at the boxes; correct the size, or scale the boxes.
    """
    examples = []
    for entry in data.entries:
        photo, annotated = entry.photo, entry.annotated
        if photo is None or photo.problem or annotated is None or annotated == (photo.width, photo.height):
            continue
        turned = ", its width and height exchanged by EXIF" if is_turned(entry) else ""
        one, other = f"{annotated[0]} x {annotated[1]}", f"{photo.width} x {photo.height}"
        message = f"says {one} pixels, but the image file has {other}{turned}"
        difference = abs(annotated[0] / photo.width - 1) + abs(annotated[1] / photo.height - 1)
        examples.append((-difference, Example(where=entry.where, message=message, entry=entry)))
    return _sorted(examples)


def is_turned(entry: Entry) -> bool:
    """Return whether an annotation was made on the picture as viewers that obey EXIF turn it."""
    photo = entry.photo
    if photo is None or photo.orientation < 5:
        return False
    return entry.annotated == (photo.height, photo.width) != (photo.width, photo.height)


@CHECKS.add("error", mends="leaves the image out", quick=True)
def long_image(data: Survey) -> list[Example]:
    """An image is so long that its short side vanishes at training resolution, so no detector can take it.

    Fix: Crop it, leave it out, or raise --model.max_size.
    """
    return [
        Example(where=_name(entry), message=f"has {entry.size[0]} x {entry.size[1]} pixels", entry=entry)
        for entry in data.entries
        if entry.size and entry.photo and is_too_long(*entry.size, max_size=data.training.max_size)
    ]


@CHECKS.add("warning")
def duplicate_image(data: Survey) -> list[Example]:
    """Two files of a split have the same bytes; the photo counts twice, perhaps with other boxes.

    Fix: Remove one of them, or let --fix OUT --drop-copies leave it out.
    """
    examples = []
    for entries in data.parts.values():
        for group in (group for group in _by_length(entries).values() if len(group) > 1):
            first: dict[str, tuple[Path, Entry]] = {}
            for path, entry in group:
                twin_path, twin = first.setdefault(content_digest(path), (path, entry))
                if twin_path != path:
                    examples.append(_pair(entry, twin, "has the same bytes as"))
    return examples


@CHECKS.add("warning", pixels=True)
def look_alike(data: Survey) -> list[Example]:
    """Two pictures in two splits show the same in other bytes: another quality, another size, the next frame.

    Fix: Look at both; if they are one photo, take it out of one split.
    """
    known = {(e.where, e.other.name if e.other else "") for e in same_photo(data)}
    by_band: dict[tuple[int, int], list[_Thumbnail]] = {}
    examples = []
    for split in data.parts:
        for one in _thumbnails(data, split):
            candidates = {id(other): other for band in one.bands() for other in by_band.get(band, ())}
            for other in (other for other in candidates.values() if other.entry.split != split):
                difference = float(np.abs(one.grey - other.grey).mean())
                if (one.gradients ^ other.gradients).bit_count() <= BITS and difference <= LEVELS:
                    example = _pair(one.entry, other.entry, "looks like")
                    if (example.where, other.entry.name) not in known:
                        examples.append((difference, example))
            for band in one.bands():
                by_band.setdefault(band, []).append(one)
    return _sorted(examples)


@dataclass(frozen=True, slots=True, eq=False)
class _Thumbnail:
    """A picture of 8 x 9 grey values, and a bit for each of their 64 horizontal differences."""

    entry: Entry
    grey: np.ndarray
    gradients: int

    def bands(self) -> list[tuple[int, int]]:
        """Return the bits in four bands; two thumbnails that differ in two bits have at least two bands in common."""
        return [(band, self.gradients >> 16 * band & 0xFFFF) for band in range(4)]


def _thumbnails(data: Survey, split: str) -> Iterator[_Thumbnail]:
    """Yield the pictures of a split that have enough structure to be compared, each file once."""
    paths = set()
    for entry in data.parts[split]:
        decoded = data.decoded.get(entry.path) if entry.path and entry.path not in paths else None
        if decoded and decoded.grey:
            paths.add(entry.path)
            grey = np.frombuffer(decoded.grey, dtype=np.uint8).reshape(8, 9).astype(np.int16)
            if grey.std() >= FLAT:
                yield _Thumbnail(entry, grey, int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()))


@CHECKS.add("warning", mends="writes the pixels as they are read, without the mark")
def exif_rotation(data: Survey) -> list[Example]:
    """Viewers turn an image, as EXIF says; it is read as stored, with boxes as annotated.

    Fix: Turn the pixels and remove the mark, unless the boxes were drawn on the picture as it is stored.
    """
    return [
        Example(where=_name(entry), message=f"has the EXIF orientation {photo.orientation}", entry=entry)
        for entry, photo in data.files()
        if photo.orientation != 1
    ]


@CHECKS.add("warning", mends="gives the copy the right ending")
def wrong_ending(data: Survey) -> list[Example]:
    """The ending of a file's name is that of another type than its content; some programs refuse it.

    Fix: Rename the file.
    """
    return [
        Example(where=path.name, message=f"holds {photo.kind} data", entry=entry)
        for entry, photo, path in _all_photos(data)
        if photo.kind in ENDINGS and path.suffix.lower() not in ENDINGS[photo.kind]
    ]


@CHECKS.add("warning", mends="writes images with alpha, a palette, CMYK or 16 bits as RGB")
def not_rgb(data: Survey) -> list[Example]:
    """An image is grey, has a palette, alpha, or other channels than red, green and blue; it is read as RGB.

    Fix: Nothing need be done if the colours carry no information.
    """
    modes = {"L": "grey", "1": "black and white", "P": "of a palette", "RGBA": "with alpha", "LA": "grey with alpha"}
    examples = [
        Example(where=path.name, message=f"is {modes.get(photo.mode, photo.mode)} ({photo.kind})", entry=entry)
        for entry, photo, path in _all_photos(data)
        if photo.kind and photo.mode != "RGB"
    ]
    return sorted(examples, key=lambda example: "alpha" not in example.message)


@CHECKS.add("warning", mends="does not copy it")
def unlisted_image(data: Survey) -> list[Example]:
    """An image lies beside the others, and no split names it.

    Fix: Add it to a split, or know why it is not in one.
    """
    return [Example(where=photo.path.name, message="is in no split") for photo in data.unlisted if photo.path]


def _pair(entry: Entry, twin: Entry, verb: str) -> Example:
    message = f'{verb} {twin.name} of the split "{twin.split}"'
    return Example(where=_name(entry), message=message, entry=entry, other=twin)


def _by_length(entries: Sequence[Entry]) -> dict[int, list[tuple[Path, Entry]]]:
    groups: dict[int, list[tuple[Path, Entry]]] = {}
    for path, entry in ((entry.path, entry) for entry in entries):
        if path and os.path.isfile(path):
            groups.setdefault(path.stat().st_size, []).append((path, entry))
    return groups


def _twin_finder(entries: Sequence[Entry]) -> Callable[[Entry], Entry | None]:
    """Return a function that finds the entry with the same file, or a file of the same bytes."""
    lengths = _by_length(entries)
    paths: dict[str, Entry] = {}
    for path, entry in (pair for group in lengths.values() for pair in group):
        paths.setdefault(os.path.realpath(path), entry)

    def find(entry: Entry) -> Entry | None:
        path = entry.path
        if path is None or not os.path.isfile(path):
            return None
        candidates = lengths.get(path.stat().st_size, [])
        same_bytes = (twin for twin_path, twin in candidates if content_digest(twin_path) == content_digest(path))
        return paths.get(os.path.realpath(path)) or next(same_bytes, None)

    return find


def _all_photos(data: Survey) -> Iterator[tuple[Entry | None, Photo, Path]]:
    """Return the headers of all files, those that no split names last."""
    unlisted = ((None, photo) for photo in data.unlisted if not photo.problem)
    return ((entry, p, p.path) for entry, p in (*data.files(), *unlisted) if p.path)


def _sorted(ranked: list[tuple[float, Example]]) -> list[Example]:
    return [example for _, example in sorted(ranked, key=lambda pair: pair[0])]


def _name(entry: Entry) -> str:
    return f"{entry.split}: {entry.name}" if usual_name(entry.split) else entry.name
