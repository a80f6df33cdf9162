"""YOLO: a text file of boxes per image, named by a YAML file of splits and classes. No torch.

    data.yaml with train, val, test (each a folder, a list of images, or several of them) and names
    images/SPLIT/*.jpg with labels/SPLIT/*.txt, or SPLIT/images with SPLIT/labels; or labels beside their images
    classes.txt with images/ and labels/ (LabelImg, Label Studio)                   cut by a seed (`Options.cut`)

A row is `class x y width height`, centre and size as shares of the image's; or `class x1 y1 x2 y2 x3 y3 ...`, a
polygon, which becomes the box around it. An image without a label file has no objects, as Ultralytics reads it.
Reference: https://docs.ultralytics.com/datasets/detect
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from smoothiou.data.copies import group_copies
from smoothiou.data.faults import first_names
from smoothiou.data.formats.base import Entry, Format, Options, Problems
from smoothiou.data.formats.yolo_config import config_file, read_config
from smoothiou.data.images import SUFFIXES, read_header
from smoothiou.data.listing import find_file, is_companion
from smoothiou.data.records import Box
from smoothiou.data.splits import CUT_SHARES, in_usual_order, seeded_cut, usual_name
from smoothiou.errors import DataError
from smoothiou.files import is_inside, leads_out, limits, read_bytes, real_folder, short
from smoothiou.words import counted

MAX_LABELS, MAX_LIST = 2**24, 2**26
"""Bytes of one label file, and of a list of images."""
FAR = 2.0
"""A share of the image's side beyond this is no share: the numbers are pixels."""
_LABELS_LIE = "The labels of images/a.jpg are read from labels/a.txt, or from a.txt beside the image."


class Yolo(Format):
    """A folder of YOLO's labels, or its data.yaml."""

    format = "yolo"
    layout = "data.yaml with images and labels/*.txt, or classes.txt with images/ and labels/"
    images_in = "the folders that data.yaml names"

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self.config = read_config(path)
        self.root = self.config.root
        self.name = self.root.resolve().name
        self._shares: dict[Path, tuple[Box, ...]] = {}
        self._polygons = 0
        self._meant: dict[Path, str] = {}
        images = {split: self._images(split, sources) for split, sources in self.config.splits.items()}
        self.images = {split: found for split, found in images.items() if found is not None}
        if not self.config.splits:
            self.images = self._cut_images()
        self.splits = in_usual_order(self.images)
        self._bare = {split: [i for i in found if not self._label_file(i)] for split, found in self.images.items()}
        self._check_labels()

    @classmethod
    def fits(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in (".yaml", ".yml")
        return config_file(path) is not None

    def files_splits(self) -> tuple[str, ...]:
        return tuple(self.images)

    def has_boxes(self, split: str) -> bool:
        return any(self._boxes(image) for image in self.images[split])

    def classes(self) -> tuple[str, ...]:
        boxed = set().union(*self.labels("").values())
        if not boxed:
            raise DataError(
                f"{self.name}: no label file of any split has a box.",
                hint=_LABELS_LIE,
            )
        names = dict.fromkeys(self.config.names)
        notes = []
        if empty := [name for name in names if name not in boxed]:
            notes.append(f"left out, having no box in any split: {first_names(empty)}")
        for name, count in Counter(self.config.names).items():
            if count > 1:
                notes.append(f'{count} class ids are called "{name}" and were read as one class')
        if self._polygons:
            notes.append(f"{counted(self._polygons, 'polygon')} became the boxes around them")
        self.notes += [note for note in notes if note not in self.notes]
        return tuple(name for name in names if name in boxed)

    def listed_classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.config.names))

    def labels(self, split: str) -> dict[str, set[str]]:
        return {
            part: {box.label for image in images for box in self._boxes(image)} for part, images in self.images.items()
        }

    def entries(self, split: str) -> list[Entry]:
        images = self.images[split]
        labelled = len(self._bare[split]) < len(images)
        return [self._entry(image, split, "read" if labelled else "missing") for image in images]

    def _entry(self, image: Path, split: str, annotation: Literal["read", "missing"]) -> Entry:
        photo = read_header(image) if os.path.isfile(image) else None
        boxes: tuple[Box, ...] = ()
        # Without a readable image its size is unknown, and the boxes have no pixels; the image is the fault then.
        if photo and not photo.problem:
            boxes = tuple(_scaled(box, photo.width, photo.height) for box in self._boxes(image))
        return Entry(
            name=self._called(image),
            split=split,
            where=self._called(self._label_file(image) or image),
            locate=functools.partial(_existing, image),
            boxes=boxes,
            annotation=annotation,
            photo=photo,
        )

    def _check_labels(self) -> None:
        """Name images without a label file: all of a split is a fault, but for a test split, which may be withheld."""
        for split, bare in self._bare.items():
            if bare and len(bare) < len(self.images[split]):
                text = f"{counted(len(bare), 'image')} of {split} without a label file, read as without objects"
                self.notes.append(f"{text}: {first_names([self._called(image) for image in bare])}")
            elif bare and usual_name(split) != "test":
                looked = self._called(_label_paths(bare[0], self.root)[0])
                text = f"{self.name}: no image of {split} has a label file: {looked} does not exist."
                self.problems.report("unreadable-annotation", DataError(text, hint=_LABELS_LIE), where=self.name)

    # ---- which images belong to which split

    def _images(self, split: str, sources: Sequence[str]) -> list[Path] | None:
        """Return the images of a split, each once; None for a test split that does not exist."""
        images: list[Path] = []
        for source in sources:
            found = self._find(source)
            if found is None:
                error = DataError(
                    f"{self.config.file}: {split}: {source} does not exist in {self.root}.",
                    hint="Write it relative to the folder of the data.",
                )
                if usual_name(split) == "test":  # exporters write the line whether or not there is such a split
                    self.notes.append(f"the test split was left out: {source} does not exist")
                    return None
                self.problems.report("unreadable-annotation", error, where=str(self.config.file))
                continue
            if self._meant.setdefault(found, source) != source:
                text = f"{self.config.file}: {self._meant[found]} and {source} both lead to {found}."
                raise DataError(text, hint="Write each relative to the folder of the data.")
            images += self._in_folder(found) if found.is_dir() else self._in_list(found)
        unique = list(dict.fromkeys(images))
        if len(unique) < len(images):
            self.notes.append(f"{split} names {counted(len(images) - len(unique), 'image')} twice; each was read once")
        return unique

    def _find(self, text: str) -> Path | None:
        """Return the file or folder that a path in data.yaml means, or None.

        Exporters write `../train/images` for what lies in train/images, and absolute paths of other machines: the
        longest end of the path that exists in the data folder is taken.
        """
        parts = [p for p in PurePosixPath(text.replace("\\", "/")).parts if p not in ("/", ".", "..")]
        parts = parts[1:] if parts and PureWindowsPath(text).drive == parts[0] else parts
        for start in range(len(parts)):
            path = self.root.joinpath(*parts[start:])
            if os.path.exists(path) or (path := find_file(self.root, PurePosixPath(*parts[start:]))):
                return self._checked(path, str(self.config.file))
        return self.root if not parts and text.strip() else None

    def _in_folder(self, folder: Path) -> list[Path]:
        """Return every image below a folder, and for a label file without an image the image that is missing."""
        images = [path for path in _walk(folder) if path.suffix.lower() in SUFFIXES]
        known = {path.with_suffix("") for path in images}
        for home in sorted({path.parent for path in images}):
            labels = _label_paths(home / "a.jpg", self.root)[0].parent
            if labels != home:  # beside images lie other texts, too
                names = sorted(file.stem for file in labels.glob("*.txt") if file.name != "classes.txt")
                images += [home / f"{n}.jpg" for n in names if home / n not in known and not n.startswith(".")]
        return [self._checked(path, self._called(path)) for path in images]

    def _in_list(self, file: Path) -> list[Path]:
        """Return the images of a list, as written relative to the list or to the data folder."""
        try:
            lines = read_bytes(file, most=MAX_LIST).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{file}: the list cannot be read: {reason}.") from None
        images = []
        for number, line in enumerate(lines, 1):
            if not (text := line.strip()):
                continue
            if "\0" in text or Path(text).suffix.lower() not in SUFFIXES:
                error = DataError(f"{file}, line {number}: expected the path of an image, got {short(text)}.")
                self.problems.report("unreadable-annotation", error, where=f"{file.name}, line {number}")
                continue
            beside = Path(os.path.normpath(file.parent / text))
            image = find_file(beside.parent, beside.name)
            if image is None or not is_inside(image, (real_folder(self.root),)):
                image = self._find(text)
            images.append(image or self.root.joinpath(*[p for p in Path(text).parts if p not in ("/", "..")]))
        return images

    def _cut_images(self) -> dict[str, list[Path]]:
        """Return all images, cut by the seed, with copies of one photo in one part."""
        folder = self.root / "images"
        images = {self._called(image): image for image in self._in_folder(folder if folder.is_dir() else self.root)}
        group, notes = group_copies({name: functools.partial(_existing, image) for name, image in images.items()})
        self.notes += [f"split {self.options.cut} by seed {self.options.split_seed}: none is shipped", *notes]
        cut = seeded_cut(images, seed=self.options.split_seed, shares=CUT_SHARES[self.options.cut], together=group)
        return {split: [images[name] for name in names] for split, names in cut.items()}

    def _checked(self, path: Path, where: str) -> Path:
        if not limits().links and not is_inside(path, (real_folder(self.root),)):
            raise leads_out(path, where)
        return path

    def _called(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    # ---- one label file

    def _label_file(self, image: Path) -> Path | None:
        return next(filter(None, (find_file(path.parent, path.name) for path in _label_paths(image, self.root))), None)

    def _boxes(self, image: Path) -> tuple[Box, ...]:
        """Return the boxes of an image in shares of its sides, read once."""
        if image not in self._shares:
            file = self._label_file(image)
            self._shares[image] = tuple(self._rows(file)) if file else ()
        return self._shares[image]

    def _rows(self, file: Path) -> list[Box]:
        """Return the boxes of one label file, in shares of the image's sides."""
        called = self._called(self._checked(file, self._called(file)))
        try:
            lines = read_bytes(file, most=MAX_LABELS).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.problems.report(
                "unreadable-annotation", DataError(f"{file}: cannot be read as text: {reason}."), where=called
            )
            return []
        boxes = []
        for number, line in enumerate(lines, 1):
            if fields := line.split():
                where = f"{called}, line {number}"
                try:
                    boxes.append(self._row(fields, where))
                except _UnknownClassError as error:
                    self.problems.report("unknown-label", error, where=where)
                except DataError as error:
                    self.problems.report("unreadable-annotation", error, where=where)
        return boxes

    def _row(self, fields: Sequence[str], where: str) -> Box:
        try:
            key, *values = (float(field) for field in fields)
        except ValueError:
            raise DataError(f"{where}: expected numbers only, got {short(' '.join(fields))}.") from None
        if not key.is_integer() or key < 0:
            raise DataError(f"{where}: the class must be a whole number from 0, got {short(fields[0])}.")
        if key >= len(self.config.names):
            raise _UnknownClassError(
                f"{where}: class {int(key)}, but {self.config.file.name} has {len(self.config.names)} names, 0 to "
                f"{len(self.config.names) - 1}.",
                hint="Add its name, or correct the number.",
            )
        if self.config.keypoint_values and len(values) == 4 + self.config.keypoint_values:
            values = values[:4]
        if not all(map(math.isfinite, values)):
            raise DataError(f"{where}: expected finite numbers, got {short(' '.join(fields))}.")
        if any(abs(value) > FAR for value in values):
            raise DataError(
                f"{where}: expected shares of the image's sides, 0 to 1, got {short(' '.join(fields[1:]))}.",
                hint="Divide x and width by the image's width, y and height by its height.",
            )
        if len(values) == 4:
            x, y, w, h = values
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            self._polygons += 1
            corners = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        else:
            raise DataError(
                f"{where}: expected a class and four numbers, or a polygon of three points and more, got "
                f"{counted(len(values), 'number')} after the class.",
                hint="A sixth column is a score: then these are predictions. Poses need kpt_shape in data.yaml.",
            )
        return Box(xyxy=corners, label=self.config.names[int(key)], where=where)


class _UnknownClassError(DataError):
    """A class id that has no name."""


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, by name; hidden ones are companions of other systems."""
    for home, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_companion(name))
        yield from (Path(home) / name for name in sorted(files) if not is_companion(name))


def _label_paths(image: Path, root: Path) -> list[Path]:
    """Return where the labels of an image may be: in labels/ for the last images/ of its path, and beside it."""
    inside = list(image.relative_to(root).parts) if image.is_relative_to(root) else [image.name]
    beside = image.with_suffix(".txt")
    if "images" not in inside[:-1]:
        return [beside]
    last = len(inside) - 2 - inside[-2::-1].index("images")
    return [root.joinpath(*inside[:last], "labels", *inside[last + 1 :]).with_suffix(".txt"), beside]


def _existing(image: Path) -> Path | None:
    return image if os.path.isfile(image) else None


def _scaled(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box.xyxy
    return dataclasses.replace(box, xyxy=(x1 * width, y1 * height, x2 * width, y2 * height))
