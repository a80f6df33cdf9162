"""Checks of image files, annotation files and splits. No torch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from smoothiou.data.doctor.case import Case
from smoothiou.data.doctor.facts import Entry, Example, Photo
from smoothiou.data.doctor.photos import ENDINGS
from smoothiou.data.splits import in_usual_order, photo, usual_name
from smoothiou.files import file_digest

BITS = 2
"""Of 64 bits of two pictures' gradients that may differ, and ..."""
LEVELS = 3.0
"""... the mean difference of their 72 grey values, of 255, below which they look alike."""
FLAT = 4.0
"""Standard deviation of grey values below which a picture has nothing to be told by."""


def missing_image(case: Case) -> list[Example]:
    """Images that annotations name, and that are not there."""
    return [
        Example(where=entry.where, message=f"the image {entry.name} is not there", entry=entry)
        for entry in case.entries
        if entry.photo is None
    ]


def missing_annotation(case: Case) -> list[Example]:
    """Images of a list without an annotation, in splits where others have one."""
    bare = set(_bare_splits(case))
    found = [
        Example(where=entry.name, message=f'is in the list "{entry.split}", but has no annotation', entry=entry)
        for split in in_usual_order(case.survey.splits)
        for entry in case.survey.splits[split]
        if entry.annotation == "missing" and split not in bare
    ]
    return list({example.where: example for example in reversed(found)}.values())[::-1]


def empty_split(case: Case) -> list[Example]:
    """Splits without images, or without any box; not those whose boxes their makers keep."""
    found = []
    for split in in_usual_order(set(case.survey.splits) - set(withheld(case))):
        entries = case.survey.splits[split]
        if not entries:
            found.append(Example(where=split, message="has no images"))
        elif not any(entry.boxes for entry in entries):
            missing = split in _bare_splits(case)
            reason = "none has an annotation" if missing else "none has a box"
            found.append(Example(where=split, message=f"has {len(entries)} images, of which {reason}"))
    return found


def withheld(case: Case) -> list[str]:
    """Return the test splits without any annotation, as Oxford-IIIT Pet and VOC 2012 publish them: no fault."""
    if not set(case.survey.format.split("+")) <= {"pets", "voc"} or not any(entry.boxes for entry in case.entries):
        return []
    return [split for split in _bare_splits(case) if usual_name(split) == "test"]


def _bare_splits(case: Case) -> Iterator[str]:
    for split, entries in case.survey.splits.items():
        if entries and all(entry.annotation == "missing" for entry in entries):
            yield split


def unreadable_image(case: Case) -> list[Example]:
    """Files that are no image, are cut off, or lie outside the data folder."""
    found = []
    for entry in case.entries:
        if entry.photo is None:
            continue
        problem = entry.photo.problem
        if not problem and entry.path and entry.path in case.looks:
            problem = case.looks[entry.path].problem
        if problem:
            found.append(Example(where=_file(entry), message=problem, entry=entry))
    return found


def size_mismatch(case: Case) -> list[Example]:
    """Annotations that tell another size than the file has; the largest difference first."""
    found = []
    for entry in case.entries:
        shot = entry.photo
        if shot is None or shot.problem or entry.annotated is None or entry.annotated == (shot.width, shot.height):
            continue
        told, has = (f"{width} x {height}" for width, height in (entry.annotated, (shot.width, shot.height)))
        turned = ", its width and height exchanged by EXIF" if is_turned(entry) else ""
        off = abs(entry.annotated[0] / shot.width - 1) + abs(entry.annotated[1] / shot.height - 1)
        message = f"says {told} pixels, but the image file has {has}{turned}"
        found.append((-off, Example(where=entry.where, message=message, entry=entry)))
    return [example for _, example in sorted(found, key=lambda pair: pair[0])]


def is_turned(entry: Entry) -> bool:
    """Return whether an annotation was made on the picture as viewers that obey EXIF turn it."""
    shot = entry.photo
    return bool(shot and shot.turned and entry.annotated == (shot.height, shot.width) != (shot.width, shot.height))


def exif_rotation(case: Case) -> list[Example]:
    """Images that viewers show turned or mirrored."""
    return [
        Example(where=_file(entry), message=f"has the EXIF orientation {entry.photo.orientation}", entry=entry)
        for entry in case.files()
        if entry.photo and entry.photo.orientation != 1
    ]


def wrong_ending(case: Case) -> list[Example]:
    """Files whose name tells another type than their content, those in no list included."""
    return [
        Example(where=_name(shot), message=f"holds {shot.kind} data", entry=entry)
        for entry, shot in _shots(case)
        if shot.kind in ENDINGS and shot.path and shot.path.suffix.lower() not in ENDINGS[shot.kind]
    ]


def not_rgb(case: Case) -> list[Example]:
    """Grey, palette, alpha, CMYK and 16-bit images; those with alpha first."""
    words = {"L": "grey", "1": "black and white", "P": "of a palette", "RGBA": "with alpha", "LA": "grey with alpha"}
    found = [
        Example(where=_name(shot), message=f"is {words.get(shot.mode, shot.mode)} ({shot.kind})", entry=entry)
        for entry, shot in _shots(case)
        if shot.kind and shot.mode != "RGB"
    ]
    return sorted(found, key=lambda example: "alpha" not in example.message)


def unlisted_image(case: Case) -> list[Example]:
    """Image files that no split names."""
    return [Example(where=_name(shot), message="is in no split") for shot in case.survey.unlisted]


def same_photo(case: Case) -> list[Example]:
    """Photos in two splits: one file in two lists, equal bytes, or names that say so; as `leaks.same_photos` tells."""
    found = []
    for (_, one), (_, other) in combinations(case.parts.items(), 2):
        known, exported = _digests(one), {photo(e.name): e for e in one if photo(e.name) != e.name}
        for entry in other:
            twin = known(entry) or exported.get(photo(entry.name))
            if twin:
                found.append(_pair(entry, twin, "is"))
    return found


def duplicate_image(case: Case) -> list[Example]:
    """Files of equal bytes in one split."""
    found = []
    for entries in case.parts.values():
        lengths: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.path and os.path.isfile(entry.path):
                lengths.setdefault(entry.path.stat().st_size, []).append(entry)
        for group in (group for group in lengths.values() if len(group) > 1):
            first: dict[str, Entry] = {}
            for entry in group:
                assert entry.path is not None
                twin = first.setdefault(_digest(entry.path), entry)
                if twin.path != entry.path:
                    found.append(_pair(entry, twin, "has the same bytes as"))
    return found


def look_alike(case: Case) -> list[Example]:
    """Pictures in two splits that show the same in other bytes: an export in another quality or size."""
    same = {(e.where, e.other.name if e.other else "") for e in same_photo(case)}
    bands: dict[tuple[int, int], list[tuple[Entry, int, np.ndarray]]] = {}
    found = []
    for split, entries in case.parts.items():
        seen = set()
        for entry in entries:
            look = case.looks.get(entry.path) if entry.path else None
            if look is None or not look.grey or entry.path in seen:
                continue
            seen.add(entry.path)
            grey = np.frombuffer(look.grey, dtype=np.uint8).reshape(8, 9).astype(np.int16)
            if grey.std() < FLAT:
                continue
            code = int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())
            # Codes that differ in two bits have at least two of four equal bands.
            keys = [(band, code >> 16 * band & 0xFFFF) for band in range(4)]
            near = {id(e): (e, c, g) for key in keys for e, c, g in bands.get(key, ()) if e.split != split}
            for other, its_code, its_grey in near.values():
                apart = float(np.abs(grey - its_grey).mean())
                if (code ^ its_code).bit_count() <= BITS and apart <= LEVELS:
                    example = _pair(entry, other, "looks like")
                    if (example.where, other.name) not in same:
                        found.append((apart, example))
            for key in keys:
                bands.setdefault(key, []).append((entry, code, grey))
    return [example for _, example in sorted(found, key=lambda pair: pair[0])]


def _pair(entry: Entry, twin: Entry, word: str) -> Example:
    return Example(
        where=_file(entry), message=f'{word} {twin.name} of the split "{twin.split}"', entry=entry, other=twin
    )


def _digests(entries: tuple[Entry, ...]) -> Callable[[Entry], Entry | None]:
    """Return a function that finds the entry with the same file, or a file of the same bytes."""
    paths: dict[str, Entry] = {}
    lengths: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.path and os.path.isfile(entry.path):
            paths.setdefault(os.path.realpath(entry.path), entry)
            lengths.setdefault(entry.path.stat().st_size, []).append(entry)

    def find(entry: Entry) -> Entry | None:
        path = entry.path
        if path is None or not os.path.isfile(path):
            return None
        if (same := paths.get(os.path.realpath(path))) is not None:
            return same
        near = lengths.get(path.stat().st_size, [])
        return next((other for other in near if other.path and _digest(other.path) == _digest(path)), None)

    return find


@functools.lru_cache(maxsize=2**17)
def _digest(path: Path) -> str:
    return file_digest(path)


def _shots(case: Case) -> Iterator[tuple[Entry | None, Photo]]:
    """Give the headers of all files, those that no split names last."""
    for entry in case.files():
        if entry.photo:
            yield entry, entry.photo
    for shot in case.survey.unlisted:
        if not shot.problem:
            yield None, shot


def _name(shot: Photo) -> str:
    return shot.path.name if shot.path else "a drawn image"


def _file(entry: Entry) -> str:
    return f"{entry.split}: {entry.name}" if usual_name(entry.split) else entry.name
