"""What is wrong with measuring on one split after learning from another. No torch."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from smoothiou.data.faults import first_names
from smoothiou.data.records import Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import photo, unlearnt
from smoothiou.files import file_digest


def same_photos(learnt: Dataset, other: Dataset) -> list[tuple[str, str]]:
    """Return the images of `other` that are in `learnt` too, each with its name there.

    Two images are one photo if they are the same file, if their files have the same bytes, or if an exporter's names
    say so (`photo.rf.HASH.jpg`). Only files of equal length are compared byte by byte.

    Args:
        learnt: what is learnt from.
        other: what is measured on.

    Returns:
        Pairs (name in `other`, name in `learnt`), in the order of `other`.
    """
    theirs, names = _files(learnt), {photo(r.name): r.name for r in learnt.records if photo(r.name) != r.name}
    by_path = {path: record.name for path, record in theirs.items()}
    by_length: dict[int, list[Path]] = {}
    for path in theirs:
        by_length.setdefault(path.stat().st_size, []).append(path)
    digest = functools.cache(file_digest)
    found = []
    for path, record in _files(other).items():
        twin = by_path.get(path) or names.get(photo(record.name))
        if not twin:
            near = by_length.get(path.stat().st_size, [])
            twin = next((by_path[known] for known in near if digest(known) == digest(path)), None)
        if twin:
            found.append((record.name, twin))
    return found


def warn(learnt: Dataset, other: Dataset) -> Dataset:
    """Return `other` with what is wrong with measuring on it after learning from `learnt`.

    Every photo that is in both becomes a fault "same-photo", and a note names the first of them; another note names
    the classes that `learnt` has no box of.
    """
    both = (("train", learnt), ("", other))
    labels = {part: {box.label for record in data.records for box in record.boxes} for part, data in both}
    notes = [note for note in unlearnt(labels, "") if note not in other.notes]
    pairs = same_photos(learnt, other)
    place = f'the split "{learnt.split}", which is learnt from'
    if pairs:
        count = "1 photo" if len(pairs) == 1 else f"{len(pairs)} photos"
        names = first_names([name for name, _ in pairs])
        notes.append(f'{count} of the split "{other.split}" in {place}, too: {names}')
    faults = [Fault(kind="same-photo", where=name, message=f"is {twin} of {place}") for name, twin in pairs]
    return dataclasses.replace(other, faults=(*faults, *other.faults), notes=(*other.notes, *notes))


def _files(dataset: Dataset) -> dict[Path, Record]:
    """Return the records that are files, by real path; drawn images are no files."""
    found = {}
    for record in dataset.records:
        if isinstance(record.source, ImageFile):
            found[record.source.path.resolve()] = record
    return found
