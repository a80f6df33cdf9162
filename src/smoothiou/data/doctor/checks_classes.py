"""Checks of class names and of how many boxes each has. No torch."""

from __future__ import annotations

import re
from collections import Counter

from smoothiou.data.doctor.check import Checks
from smoothiou.data.doctor.survey import Survey
from smoothiou.data.formats.base import Example
from smoothiou.data.listing import same_form
from smoothiou.data.long_tail import tail_note
from smoothiou.data.splits import usual_name
from smoothiou.words import counted

FEW = 5
"""Boxes of a class; with fewer, its AP is a matter of luck."""
CHECKS = Checks()


@CHECKS.add("warning", mends="takes the most frequent spelling", quick=True)
def class_spelling(data: Survey) -> list[Example]:
    """Class names differ only in capitals, spaces, hyphens or underscores, and count as several classes.

    Fix: Spell the class in one way.
    """
    counts = Counter(box.label for entry in data.entries for box in entry.boxes)
    examples = []
    for names in spellings({*counts, *data.listed}):
        ranked = sorted(names, key=lambda name: (-counts[name], name))
        spelt = ", ".join(f'"{name}" ({_boxes(counts[name])})' for name in ranked)
        examples.append(_example(data, ranked[0], f"is spelt {spelt}", pictured=ranked[-1]))
    return examples


def spellings(names: set[str]) -> list[list[str]]:
    """Return the groups of names that mean the same class."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(re.sub(r"[\s_\-.]+", "", same_form(name).casefold()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


@CHECKS.add("warning", mends="takes it out of the list")
def unused_class(data: Survey) -> list[Example]:
    """A class of the list has no box in any split; it is left out.

    Fix: Nothing need be done; take it out of the list if it is a super-category.
    """
    if data.format in ("voc", "shapes"):
        return []
    used = {box.label for entry in data.entries for box in entry.boxes}
    return [Example(where=name, message="has no box in any split") for name in data.listed if name not in used]


@CHECKS.add("warning", quick=True)
def unlearnt_class(data: Survey) -> list[Example]:
    """A class is measured, but the training split has no box of it: its AP can only be 0.

    Fix: Cut the splits so that every class is in the training split.
    """
    train = data.train_split
    known = data.counts(train)
    others = [split for split in data.parts if train and split != train and usual_name(split) != "trainval"]
    return [
        _example(data, name, f'has {_boxes(count)} in "{split}", and none in "{train}"')
        for split in others
        for name, count in sorted(data.counts(split).items(), key=lambda item: -item[1])
        if name not in known
    ]


@CHECKS.add("warning", quick=True)
def unmeasured_class(data: Survey) -> list[Example]:
    """A class is trained, but a split that is measured on has no box of it: its AP is undefined on that split.

    Fix: Cut the splits so that every class is in each of them.
    """
    train = data.train_split
    others = ((split, data.counts(split)) for split in data.parts if train and split != train)
    return [
        Example(where=name, message=f'has {_boxes(count)} in "{train}", and none in "{split}"')
        for split, other in others
        for name, count in sorted(data.counts(train).items(), key=lambda item: -item[1])
        if other and name not in other
    ]


@CHECKS.add("warning", quick=True)
def rare_class(data: Survey) -> list[Example]:
    """A class has fewer than 5 boxes in the training split; its AP is a matter of luck.

    Fix: Add examples, or merge it with another class.
    """
    train = data.train_split
    ranked = sorted(data.counts(train).items(), key=lambda item: item[1])
    return [_example(data, name, f'has {_boxes(count)} in "{train}"') for name, count in ranked if count < FEW]


@CHECKS.add("warning", quick=True)
def long_tail(data: Survey) -> list[Example]:
    """One class has 20 times the boxes of another, or more: a mean over classes depends on few boxes.

    Fix: Read AP per class, and the mean IoU of boxes beside AP.
    """
    notes = tail_note(data.counts(data.train_split))
    return [Example(where=data.train_split, message=note.removeprefix("long tail: ")) for note in notes]


def _boxes(count: int) -> str:
    return counted(count, "box", "boxes")


def _example(data: Survey, label: str, message: str, *, pictured: str = "") -> Example:
    """Return an example with the first image of a class, and its boxes."""
    for entry in data.entries:
        if boxes := tuple(box for box in entry.boxes if box.label == (pictured or label)):
            return Example(where=label, message=message, entry=entry, boxes=boxes)
    return Example(where=label, message=message)
