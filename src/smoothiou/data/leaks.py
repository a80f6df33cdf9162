"""Photos that training and test split have in common, and classes that the training split has no box of. No torch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from smoothiou.data.copies import content_digest
from smoothiou.data.faults import first_names
from smoothiou.data.records import Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import not_in_train, photo
from smoothiou.words import counted


def same_photos(train: Dataset, other: Dataset) -> list[tuple[str, str]]:
    """Return the images of `other` that are in `train` too, each with its name in `train`.

    Two images are one photo if they are the same file, if their files have the same bytes, or if an exporter's names
    say so (`photo.rf.HASH.jpg`). Only files of equal length are compared byte by byte.

    Args:
        train: the training split.
        other: the test or val split.

    Returns:
        Pairs (name in `other`, name in `train`), in the order of `other`.
    """
    by_path = {path: record.name for path, record in _files(train).items()}
    names = {photo(record.name): record.name for record in train.records if photo(record.name) != record.name}
    by_length: dict[int, list[Path]] = {}
    for path in by_path:
        by_length.setdefault(path.stat().st_size, []).append(path)
    pairs = []
    for path, record in _files(other).items():
        twin = by_path.get(path) or names.get(photo(record.name))
        if not twin:
            candidates = by_length.get(path.stat().st_size, [])
            twin = next((by_path[each] for each in candidates if content_digest(each) == content_digest(path)), None)
        if twin:
            pairs.append((record.name, twin))
    return pairs


def photo_groups(records: Sequence[Record]) -> list[int]:
    """Return a number for each image that all images of the same photo share (see `same_photos`)."""
    paths = [record.source.path.resolve() if isinstance(record.source, ImageFile) else None for record in records]
    lengths = Counter(path.stat().st_size for path in set(paths) if path)
    groups = list(range(len(records)))
    first: dict[object, int] = {}

    def root(number: int) -> int:
        while groups[number] != number:
            number = groups[number]
        return number

    for number, (record, path) in enumerate(zip(records, paths, strict=True)):
        keys: list[object] = [path or record.source]
        if photo(record.name) != record.name:
            keys.append(photo(record.name))
        if path and lengths[path.stat().st_size] > 1:
            keys.append(("content", content_digest(path)))
        for key in keys:
            groups[root(first.setdefault(key, number))] = root(number)
    return [root(number) for number in range(len(records))]


def warn(train: Dataset, other: Dataset) -> Dataset:
    """Return a test or val split, with faults and notes on what it has in common with the training split.

    Every photo that is in both becomes a fault "same-photo", and a note names the first of them; another note names
    the classes that `train` has no box of.
    """
    both = (("train", train), ("", other))
    labels = {part: {box.label for record in data.records for box in record.boxes} for part, data in both}
    notes = [note for note in not_in_train(labels, "") if note not in other.notes]
    pairs = same_photos(train, other)
    split = f'the training split "{train.split}"'
    if pairs:
        names = first_names([name for name, _ in pairs])
        notes.append(f'{counted(len(pairs), "photo")} of the split "{other.split}" in {split}, too: {names}')
    faults = [Fault(kind="same-photo", where=name, message=f"is {twin} of {split}") for name, twin in pairs]
    return dataclasses.replace(other, faults=(*faults, *other.faults), notes=(*other.notes, *notes))


def _files(dataset: Dataset) -> dict[Path, Record]:
    """Return the records that are files, by real path; drawn images are no files."""
    sources = ((record.source, record) for record in dataset.records)
    return {source.path.resolve(): record for source, record in sources if isinstance(source, ImageFile)}
