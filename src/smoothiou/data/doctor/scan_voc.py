"""PASCAL VOC and Oxford-IIIT Pet for the doctor: every list, every XML file, every image. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from smoothiou.data import pets, voc
from smoothiou.data.doctor.facts import Entry, Example, Photo, Survey, bare_message
from smoothiou.data.doctor.photos import header
from smoothiou.data.doctor.scan_coco import LARGEST
from smoothiou.data.records import Box
from smoothiou.data.voc_file import Annotation, read_annotation
from smoothiou.errors import ConfigError, DataError, did_you_mean


def scan_voc(root: Path, *, split_seed: int) -> Survey:
    """Return all splits of a folder in PASCAL's format."""
    items, notes = voc.splits(root, split_seed=split_seed, strict=False)
    scan = _Scan(root)
    splits = {split: scan.entries(split, part) for split, part in items.items()}
    official = (root / "ImageSets" / "Main").is_dir()
    labels = {box.label for entries in splits.values() for entry in entries for box in entry.boxes}
    listed = voc.CLASSES if official and labels and labels <= set(voc.CLASSES) else ()
    return Survey(
        name=root.resolve().name,
        format="voc",
        splits=splits,
        listed=listed,
        problems=scan.found(),
        notes=tuple(notes),
    )


def scan_pets(root: Path, *, split_seed: int, labels: str) -> Survey:
    """Return the splits of Oxford-IIIT Pet, but for the second cut of the same images that TensorFlow's tool makes.

    Raises:
        ConfigError: no such `labels`.
    """
    labels = labels or "head"
    if labels not in pets.LABELS:
        raise ConfigError(
            f"--labels: expected one of {', '.join(pets.LABELS)}, got {labels!r}.",
            hint=did_you_mean(labels, pets.LABELS),
        )
    items, notes = pets.splits(root, split_seed=split_seed)
    scan = _Scan(root)
    wanted = {split: part for split, part in items.items() if not split.startswith("tf-")}
    splits = {}
    for split, part in wanted.items():
        entries = scan.entries(split, part)
        for entry in entries:
            for box in entry.boxes:
                if box.label not in pets.SPECIES:
                    message = f'is called "{box.label}", and not cat or dog'
                    scan.note("unknown-label", Example(where=box.where, message=message, entry=entry, boxes=(box,)))
        splits[split] = tuple(_called(entry, _name_of(labels)) for entry in entries)
    return Survey(
        name=root.resolve().name,
        format="pets",
        splits=splits,
        problems=scan.found(),
        notes=tuple(notes),
        labels=labels,
    )


def _name_of(labels: str) -> Callable[[Entry, Box], str]:
    if labels == "breed":
        return lambda entry, box: pets.breed(entry.name)
    return lambda entry, box: "head" if labels == "head" else box.label


def _called(entry: Entry, name: Callable[[Entry, Box], str]) -> Entry:
    boxes = tuple(dataclasses.replace(box, label=name(entry, box)) for box in entry.boxes)
    return dataclasses.replace(entry, boxes=boxes)


class _Scan:
    """Reads each XML file and each header once, however many lists name the image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._problems: dict[str, dict[str, Example]] = {}
        self._annotations: dict[Path, Annotation | None] = {}
        self._photos: dict[Path, Photo] = {}

    def note(self, check: str, example: Example) -> None:
        """Remember a problem, once for each place."""
        self._problems.setdefault(check, {}).setdefault(example.where, example)

    def found(self) -> dict[str, tuple[Example, ...]]:
        return {check: tuple(examples.values()) for check, examples in self._problems.items()}

    def entries(self, split: str, items: list[voc.Item]) -> tuple[Entry, ...]:
        return tuple(self._entry(split, item) for item in items)

    def _entry(self, split: str, item: voc.Item) -> Entry:
        there = os.path.isfile(item.xml)
        annotation = self._annotation(item.xml) if there else None
        photo = self._photo(item, annotation)
        where = item.xml.relative_to(self.root).as_posix()
        if annotation is None:
            kept = "broken" if there else "missing"
            return Entry(name=item.name, split=split, where=where, photo=photo, annotation=kept)
        return Entry(
            name=item.name,
            split=split,
            where=where,
            boxes=annotation.boxes,
            annotated=_size(annotation),
            photo=photo,
        )

    def _annotation(self, xml: Path) -> Annotation | None:
        if xml not in self._annotations:
            try:
                self._annotations[xml] = read_annotation(xml, root=self.root)
            except DataError as error:
                self._annotations[xml] = None
                where = xml.relative_to(self.root).as_posix()
                self.note("unreadable-annotation", Example(where=where, message=bare_message(error, xml)))
        return self._annotations[xml]

    def _photo(self, item: voc.Item, annotation: Annotation | None) -> Photo | None:
        try:
            path = item.finder.by_stem(
                item.name, file_name=annotation.file_name if annotation else "", where=str(item.xml)
            )
        except DataError as error:
            return Photo(path=None, problem=bare_message(error, item.xml))
        if path is None:
            return None
        if path not in self._photos:
            self._photos[path] = header(path)
        return self._photos[path]


def _size(annotation: Annotation) -> tuple[int, int] | None:
    if annotation.size is None:
        return None
    width, height = (min(max(side, -1), LARGEST) for side in annotation.size)
    return width, height
