"""Checks of class names and of how many boxes each has. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from smoothiou.data.doctor.case import Case
from smoothiou.data.doctor.facts import Entry, Example
from smoothiou.data.records import Box
from smoothiou.data.splits import usual_name
from smoothiou.data.tail import tail_note

FEW = 5
"""Boxes of a class; with fewer, nothing is learnt of it and its AP is a matter of luck."""


def class_spelling(case: Case) -> list[Example]:
    """Class names that differ in capitals, spaces, hyphens or underscores alone."""
    counts = Counter(box.label for entry in case.entries for box in entry.boxes)
    found = []
    for names in spellings({*counts, *case.survey.listed}):
        ranked = sorted(names, key=lambda name: (-counts[name], name))
        spelt = ", ".join(f'"{name}" ({counted(counts[name])})' for name in ranked)
        shown = _first(case, ranked[-1])
        found.append(Example(where=ranked[0], message=f"is spelt {spelt}", entry=shown[0], boxes=shown[1]))
    return found


def spellings(names: set[str]) -> Iterator[list[str]]:
    """Give the groups of names that mean the same class."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(re.sub(r"[\s_\-.]+", "", name.casefold()), []).append(name)
    return (group for group in groups.values() if len(group) > 1)


def unused_class(case: Case) -> list[Example]:
    """Classes that the data set lists, and no box has; none where the list is PASCAL's own."""
    if case.survey.format in ("voc", "shapes"):
        return []
    used = {box.label for entry in case.entries for box in entry.boxes}
    return [Example(where=name, message="has no box in any split") for name in case.survey.listed if name not in used]


def unlearnt_class(case: Case) -> list[Example]:
    """Classes with boxes in another split that the training split has none of; the most frequent first."""
    learnt = case.learnt()
    if not learnt:
        return []
    known = {box.label for entry in case.survey.splits[learnt] for box in entry.boxes}
    found = []
    for split in case.parts:
        if split == learnt or usual_name(split) == "trainval":
            continue
        for name, count in sorted(case.counts(split).items(), key=lambda item: -item[1]):
            if name not in known:
                message = f'has {counted(count)} in "{split}", and none in "{learnt}"'
                shown = _first(case, name)
                found.append(Example(where=name, message=message, entry=shown[0], boxes=shown[1]))
    return found


def unmeasured_class(case: Case) -> list[Example]:
    """Classes of the training split that another split has no box of."""
    learnt = case.learnt()
    if not learnt:
        return []
    counts = case.counts(learnt)
    found = []
    for split in case.parts:
        other = case.counts(split)
        if split != learnt and other:
            found += [
                Example(where=name, message=f'has {counted(count)} in "{learnt}", and none in "{split}"')
                for name, count in sorted(counts.items(), key=lambda item: -item[1])
                if name not in other
            ]
    return found


def rare_class(case: Case) -> list[Example]:
    """Classes of which the training split has fewer than `FEW` boxes; the rarest first."""
    learnt = case.learnt()
    counts = case.counts(learnt) if learnt else {}
    found = []
    for name, count in sorted(counts.items(), key=lambda item: item[1]):
        if count < FEW:
            entry, boxes = _first(case, name)
            found.append(Example(where=name, message=f'has {counted(count)} in "{learnt}"', entry=entry, boxes=boxes))
    return found


def long_tail(case: Case) -> list[Example]:
    """The training split's classes, where the most frequent has twenty times the boxes of the rarest."""
    learnt = case.learnt()
    notes = tail_note(case.counts(learnt)) if learnt else []
    return [Example(where=learnt, message=note.removeprefix("long tail: ")) for note in notes]


def counted(boxes: int) -> str:
    """Return `1 box`, `2 boxes`."""
    return "1 box" if boxes == 1 else f"{boxes} boxes"


def _first(case: Case, label: str) -> tuple[Entry | None, tuple[Box, ...]]:
    """Return an image that shows a class, and its boxes there."""
    for entry in case.entries:
        boxes = tuple(box for box in entry.boxes if box.label == label)
        if boxes:
            return entry, boxes
    return None, ()
