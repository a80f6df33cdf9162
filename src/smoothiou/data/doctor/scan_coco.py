"""COCO for the doctor: every entry of every file, the faulty ones named instead of refused. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou.data import coco
from smoothiou.data.coco_file import read_boxes, read_categories, read_json
from smoothiou.data.doctor.facts import Entry, Example, Photo, Survey, bare_message
from smoothiou.data.doctor.photos import header
from smoothiou.data.images import ImageFinder
from smoothiou.data.records import Box
from smoothiou.data.splits import seeded_cut, usual_name
from smoothiou.errors import DataError

LARGEST = 2**31
"""Pixels of a side that an annotation may tell; no image has more."""


def scan_coco(path: Path, *, split_seed: int) -> Survey:
    """Return all splits of COCO files.

    Raises:
        DataError: no file at all, or two for one split.
    """
    root, files = coco.find_files(path)
    scan = _Scan(root)
    splits = {split: scan.file(split, file) for split, file in files.items()}
    notes = []
    only = next(iter(splits.items())) if len(splits) == 1 else None
    if only and usual_name(only[0]) not in ("train", "val", "trainval", "test"):
        # One file whose name tells no split is cut, as the reader cuts it.
        entries = only[1]
        cut = seeded_cut([entry.name for entry in entries], seed=split_seed) if entries else {}
        sides = {name: side for side, names in cut.items() for name in names}
        splits = {
            side: tuple(dataclasses.replace(e, split=side) for e in entries if sides[e.name] == side) for side in cut
        }
        notes.append(f"split 80/20 by seed {split_seed}: none is shipped")
    return Survey(
        name=root.resolve().name,
        format="coco",
        splits=splits,
        listed=tuple(dict.fromkeys(scan.classes)),
        problems={check: tuple(examples) for check, examples in scan.problems.items()},
        notes=tuple(notes),
    )


class _Scan:
    """What the files of one data folder say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: dict[str, list[Example]] = {}
        self.classes: list[str] = []

    def note(self, check: str, where: str, message: str) -> None:
        self.problems.setdefault(check, []).append(Example(where=where, message=message))

    def file(self, split: str, file: Path) -> tuple[Entry, ...]:
        """Return the images of one file, each with its boxes."""
        try:
            content = read_json(file)
            categories = read_categories(content, file)
        except DataError as error:
            self.note("unreadable-annotation", file.name, bare_message(error, file))
            return ()
        self.classes += categories.values()
        images, alias, doubtful = self._images(content["images"], file)
        boxes = self._boxes(content["annotations"], file, alias=alias, categories=categories)
        finder = _finder(self.root, file)
        return tuple(
            Entry(
                name=image["file_name"],
                split=split,
                where=f"{file.name}: {image['file_name']}",
                boxes=tuple(boxes.get(key, ())),
                annotated=_size(image),
                photo=_photo(finder, image["file_name"], f"{file.name}: {image['file_name']}"),
                sure=key not in doubtful,
            )
            for key, image in images.items()
        )

    def _images(self, listed: list[Any], file: Path) -> tuple[dict[Any, dict[str, Any]], dict[Any, Any], set[Any]]:
        """Return the images by id, the id under which the boxes of each id are kept, and the ids of two images."""
        images: dict[Any, dict[str, Any]] = {}
        alias: dict[Any, Any] = {}
        names: dict[str, Any] = {}
        doubtful = set()
        for index, image in enumerate(listed):
            where = f"{file.name}: images[{index}]"
            key = image.get("id") if isinstance(image, dict) else None
            name = image.get("file_name") if isinstance(image, dict) else None
            if type(key) not in (int, str) or not isinstance(name, str) or not name:
                self.note("unreadable-annotation", where, "an image needs an id and a file_name")
            elif key in images:
                self.note("duplicate-id", where, f"has the id {key!r} of {images[key]['file_name']}")
                if images[key]["file_name"] != name:
                    doubtful.add(key)
            elif name in names:
                self.note("duplicate-name", where, f"{name} is listed under the id {names[name]!r}, too")
                alias[key] = names[name]
            else:
                images[key], alias[key], names[name] = image, key, key
        return images, alias, doubtful

    def _boxes(
        self, listed: list[Any], file: Path, *, alias: Mapping[Any, Any], categories: dict[Any, str]
    ) -> dict[Any, list[Box]]:
        """Return boxes by the id of their image."""
        boxes: dict[Any, list[Box]] = {}
        seen = set()
        for index, annotation in enumerate(listed):
            where = f"{file.name}: annotations[{index}]"
            if not isinstance(annotation, dict):
                self.note("unreadable-annotation", where, "an annotation must be an object")
                continue
            image, category, key = (annotation.get(name) for name in ("image_id", "category_id", "id"))
            if type(category) in (int, str) and category not in categories:
                self.note("unknown-label", where, f"no category has the id {category!r}")
                continue
            if type(image) in (int, str) and image not in alias:
                self.note("unknown-image", where, f"no image has the id {image!r}")
                continue
            if type(key) in (int, str):
                if key in seen:
                    self.note("duplicate-id", where, f"has the id {key!r} of an earlier annotation")
                seen.add(key)
            try:
                (found,) = read_boxes(
                    {"annotations": [annotation]}, file, images=[image], categories=categories
                )[image]  # fmt: skip
            except (DataError, TypeError) as error:
                self.note(
                    "unreadable-annotation", where, bare_message(error, file).replace("annotations[0]", "").strip(": ")
                )
                continue
            boxes.setdefault(alias[image], []).append(dataclasses.replace(found, where=where))
        return boxes


def _photo(finder: ImageFinder, name: str, where: str) -> Photo | None:
    try:
        path = finder.by_path(name, where=where)
    except DataError as error:
        return Photo(path=None, problem=error.message.removeprefix(where).lstrip(": ").rstrip("."))
    return header(path) if path else None


def _finder(root: Path, file: Path) -> ImageFinder:
    folder = coco.file_split(file, root)
    return ImageFinder(root, (root / "images" / folder, root / folder, root / "images", root, file.parent))


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if type(width) is not int or type(height) is not int:
        return None
    return min(max(width, -1), LARGEST), min(max(height, -1), LARGEST)
