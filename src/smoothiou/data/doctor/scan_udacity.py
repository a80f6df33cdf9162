"""Udacity's label files for the doctor: every row of every set of a folder, with or without the frames. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smoothiou.data import udacity
from smoothiou.data.doctor.facts import Entry, Example, Photo, Survey
from smoothiou.data.doctor.photos import header
from smoothiou.data.images import ImageFinder
from smoothiou.data.records import Box
from smoothiou.data.udacity_file import is_label_file, read_labels
from smoothiou.errors import DataError

FRAME = (1920, 1200)
"""Pixels of Udacity's frames, which boxes are compared with where the frames themselves are missing."""


def scan_udacity(path: Path, *, split_seed: int) -> Survey:
    """Return the labels of a file, or of a folder with all its sets.

    Raises:
        DataError: there is no label file.
    """
    sets = _sets(path)
    problems: dict[str, list[Example]] = {}
    splits: dict[str, tuple[Entry, ...]] = {}
    notes: list[str] = []
    for found in sets:
        finder = ImageFinder(
            found.root, [found.root / "images", found.root, *sorted(c for c in found.root.iterdir() if c.is_dir())]
        )
        frames: dict[str, Mapping[str, tuple[Box, ...]]] = {}
        for part, file in found.files.items():
            try:
                labels = read_labels(file)
            except DataError as error:
                message = error.message.removeprefix(str(file)).lstrip(":, ").rstrip(".")
                problems.setdefault("unreadable-annotation", []).append(Example(where=file.name, message=message))
                continue
            frames[part] = labels.boxes
            for note in labels.notes:
                if "stand in the order" in note:
                    message = note.removeprefix(f"{file.name}: ")
                    problems.setdefault("column-order", []).append(Example(where=file.name, message=message))
                else:
                    notes.append(note)
        if "" in frames and len(sets) == 1:
            cut, how = udacity.cut_by_time(frames[""], seed=split_seed)
            notes.append(f"split 80/20 by seed {split_seed} {how}: none is shipped")
            frames = {side: {name: frames[""][name] for name in names} for side, names in cut.items()}
        for part, boxes in frames.items():
            split = part if len(sets) == 1 else f"{found.name}-{part}".rstrip("-")
            splits[split] = tuple(_entry(frame, own, split, finder) for frame, own in boxes.items())
    return Survey(
        name=sets[0].name if len(sets) == 1 else path.resolve().name,
        format="udacity",
        splits=splits,
        problems={check: tuple(examples) for check, examples in problems.items()},
        notes=tuple(notes),
    )


def _sets(path: Path) -> list[udacity.LabelSet]:
    """Return the set that a reader would take, or all of them where it would not know which."""
    try:
        return [udacity.find_set(path)]
    except DataError:
        files = [] if path.is_file() else sorted(f for f in path.iterdir() if f.name.lower().endswith(udacity.ENDINGS))
        found = {found.name: found for file in files if is_label_file(file) for found in [udacity.find_set(file)]}
        if not found:
            raise
        return list(found.values())


def _entry(frame: str, boxes: tuple[Box, ...], split: str, finder: ImageFinder) -> Entry:
    where = boxes[0].where if boxes else frame
    try:
        path = finder.by_path(frame, where=where)
        photo = header(path) if path else None
    except DataError as error:
        photo = Photo(path=None, problem=error.message.removeprefix(where).lstrip(": ").rstrip("."))
    return Entry(name=frame, split=split, where=where, boxes=boxes, annotated=None if photo else FRAME, photo=photo)
