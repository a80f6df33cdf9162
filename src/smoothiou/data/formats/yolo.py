"""YOLO: a text file of boxes per image, named by a YAML file of splits and classes. No torch.

    data.yaml with train, val, test (each a folder, a list of images, or several of them) and names
    images/SPLIT/*.jpg with labels/SPLIT/*.txt, or SPLIT/images with SPLIT/labels; or labels beside their images
    classes.txt with images/ and labels/ (Label Studio), or with all files beside it (LabelImg)
                                                   folders images/{train,val,test}, or cut by a seed (`Options.cut`)

A row is `class x y width height`, centre and size relative to the image's; or `class x1 y1 x2 y2 x3 y3 ...`, a
polygon, which becomes the box around it. An image without a label file has no objects, as Ultralytics reads it.
Reference: https://docs.ultralytics.com/datasets/detect
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from smoothiou.data.faults import first_names
from smoothiou.data.formats.base import Entry, Format, Options, Problems, class_notes
from smoothiou.data.formats.yolo_config import config_file, read_config
from smoothiou.data.image_finder import SUFFIXES, ImageFinder, list_images
from smoothiou.data.images import read_header
from smoothiou.data.listing import files_in, find_file, folders_below, in_any_form, same_form
from smoothiou.data.records import Box
from smoothiou.data.splits import USUAL, in_usual_order, read_lines, usual_name
from smoothiou.errors import DataError
from smoothiou.files import is_inside, read_bytes, read_number, real_folder, reason_of, refuse_links_out, short
from smoothiou.words import counted

MAX_LABELS = 2**24
"""Bytes of one label file."""
FAR = 2.0
"""A number beyond this is not relative to the image's side, but a pixel."""
_WHERE_LABELS_ARE = "The labels of images/a.jpg are read from labels/a.txt, or from a.txt beside the image."


class Yolo(Format):
    """A folder of YOLO's labels, or its data.yaml."""

    format = "yolo"
    layout = "data.yaml with images and labels/*.txt, or classes.txt with images/ and labels/, or with both beside it"
    images_in = "the folders that data.yaml names"

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self.config = read_config(path)
        self.root = self.config.root
        self.name = self.root.resolve().name
        self._relative_boxes: dict[Path, tuple[Box, ...]] = {}
        self._polygons = 0
        self._source_of: dict[Path, str] = {}
        listed = {split: self._images(split, sources) for split, sources in self.config.splits.items()}
        self.images = {split: images for split, images in listed.items() if images is not None}
        if not self.config.splits:
            self.images = self._cut_images()
        self.splits = in_usual_order(self.images)
        self._label_of = {image: self._label_file(image) for images in self.images.values() for image in images}
        self._unlabelled = {
            split: [image for image in images if not self._label_of[image]] for split, images in self.images.items()
        }
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
            raise DataError(f"{self.name}: no label file of any split has a box.", hint=_WHERE_LABELS_ARE)
        names = self.listed_classes()
        notes = class_notes(names, boxed, ids=self.config.names, kind="class")
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
        state = "read" if len(self._unlabelled[split]) < len(images) else "missing"
        return [self._entry(image, split, state) for image in images]

    def _entry(self, image: Path, split: str, annotation: Literal["read", "missing"]) -> Entry:
        photo = read_header(image) if os.path.isfile(image) else None
        boxes: tuple[Box, ...] = ()
        # Without a readable image its size is unknown, and the boxes have no pixels; the image is the fault then.
        if photo and not photo.problem:
            boxes = tuple(_scaled(box, photo.width, photo.height) for box in self._boxes(image))
        return Entry(
            name=self._relative(image),
            split=split,
            where=self._relative(self._label_of[image] or image),
            locate=functools.partial(_existing, image),
            boxes=boxes,
            annotation=annotation,
            photo=photo,
        )

    def _check_labels(self) -> None:
        """Name images that share a label file, and those without: a whole split is a fault, but for one to test on."""
        images_of: dict[Path, list[Path]] = {}
        for image, file in self._label_of.items():
            if file:
                images_of.setdefault(file, []).append(image)
        for file, sharing in images_of.items():
            if len(sharing) > 1:
                where, names = self._relative(file), first_names([self._relative(image) for image in sharing])
                text = f"{where}: {counted(len(sharing), 'image')} share this label file: {names}."
                self.problems.report("unreadable-annotation", DataError(text, hint="Rename them."), where=where)
        for split, images in self._unlabelled.items():
            if images and len(images) < len(self.images[split]):
                text = f"{counted(len(images), 'image')} of {split} without a label file, read as without objects"
                self.notes.append(f"{text}: {first_names([self._relative(image) for image in images])}")
            elif images and usual_name(split) != "test":
                expected = self._relative(_label_paths(images[0], self.root)[0])
                text = f"{self.name}: no image of {split} has a label file: {expected} does not exist."
                self.problems.report("unreadable-annotation", DataError(text, hint=_WHERE_LABELS_ARE), where=self.name)

    # ---- which images belong to which split

    def _images(self, split: str, sources: Sequence[str]) -> list[Path] | None:
        """Return the images of a split, each once; None for a test split that does not exist."""
        images: list[Path] = []
        paths = {source: self._resolve(source) for source in sources}
        if usual_name(split) == "test" and not any(paths.values()):
            # Exporters write the line whether or not there is such a split.
            self.notes.append(f"the test split was left out: {', '.join(sources)} does not exist")
            return None
        for source, path in paths.items():
            if path is None:
                error = DataError(
                    f"{self.config.file}: {split}: {source} does not exist in {self.root}.",
                    hint="Write it relative to the folder of the data.",
                )
                self.problems.report("unreadable-annotation", error, where=str(self.config.file))
                continue
            if self._source_of.setdefault(path, source) != source:
                text = f"{self.config.file}: {self._source_of[path]} and {source} both lead to {path}."
                raise DataError(text, hint="Write each relative to the folder of the data.")
            images += self._in_folder(path) if path.is_dir() else self._in_list(path)
        unique = list(dict.fromkeys(images))
        if len(unique) < len(images):
            self.notes.append(f"{split} names {counted(len(images) - len(unique), 'image')} twice; each was read once")
        return unique

    def _resolve(self, text: str) -> Path | None:
        """Return the file or folder that a path in data.yaml means, or None.

        Exporters write `../train/images` for what lies in train/images, and absolute paths of other machines: the
        longest end of the path that exists in the data folder is taken, but none that has lost the name of a split: of
        `test/images` that does not exist, `images` is no test split.
        """
        parts = [p for p in PurePosixPath(text.replace("\\", "/")).parts if p not in ("/", ".", "..")]
        parts = parts[1:] if parts and PureWindowsPath(text).drive == parts[0] else parts
        for start in range(len(parts)):
            path = in_any_form(self.root, PurePosixPath(*parts[start:]))
            has_split = [any(usual_name(part) in USUAL for part in some) for some in (parts[:start], parts[start:])]
            if os.path.exists(path) and has_split != [True, False]:
                return refuse_links_out(path, root=self.root, where=str(self.config.file))
        return self.root if not parts and text.strip() else None

    def _in_folder(self, folder: Path) -> list[Path]:
        """Return every image below a folder, and for a label file without an image the image that is missing."""
        images = [path for inner in folders_below(folder) for path in list_images(inner)]
        known = {same_form(str(path.with_suffix(""))) for path in images}
        for parent in dict.fromkeys(_top_of_images(path.parent, folder) for path in images):
            labels = self._as_stored(_label_paths(parent / "a.jpg", self.root)[0].parent)
            # Beside images lie other texts, too.
            inner = folders_below(labels) if labels != parent and labels.is_dir() else ()
            for file in (file for each in inner for file in files_in(each, ".txt") if file.name != "classes.txt"):
                image = parent / file.relative_to(labels).with_suffix("")
                if same_form(str(image)) not in known:  # or its ending is no image's
                    finder = ImageFinder(self.root, [image.parent])
                    named = finder.by_stem(image.name, file_name="", where=self._relative(file))
                    images.append(named or image.with_name(f"{image.name}.jpg"))
        return [refuse_links_out(path, root=self.root, where=self._relative(path)) for path in images]

    def _in_list(self, file: Path) -> list[Path]:
        """Return the images of a list, whose lines are relative to the list or to the data folder."""
        images = []
        for number, line in enumerate(read_lines(file), 1):
            if not (text := line.strip()):
                continue
            if "\0" in text or Path(text).suffix.lower() not in SUFFIXES:
                error = DataError(f"{file}, line {number}: expected the path of an image, got {short(text)}.")
                self.problems.report("unreadable-annotation", error, where=f"{file.name}, line {number}")
                continue
            beside = Path(os.path.normpath(file.parent / text))
            image = find_file(beside.parent, beside.name)
            if image is None or not is_inside(image, (real_folder(self.root),)):
                image = self._resolve(text)
            images.append(image or self.root.joinpath(*[p for p in Path(text).parts if p not in ("/", "..")]))
        return images

    def _cut_images(self) -> dict[str, list[Path]]:
        """Return all images, cut by the seed."""
        folder = self.root / "images"
        listed = self._in_folder(folder) if folder.is_dir() else list_images(self.root)
        images = {self._relative(image): image for image in listed}
        self.notes.append(f"split {self.options.cut} by seed {self.options.split_seed}: none is shipped")
        cut = self.cut_by_seed({name: functools.partial(_existing, image) for name, image in images.items()})
        return {split: [images[name] for name in names] for split, names in cut.items()}

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    # ---- one label file

    def _label_file(self, image: Path) -> Path | None:
        """Return the label file of an image, or None; what is there and no file, or two that differ, is a fault."""
        endings = (".txt", ".TXT")
        files = []
        for usual in _label_paths(image, self.root):
            paths = (self._as_stored(usual.with_suffix(ending)) for ending in endings)
            files += [path for path in paths if os.path.lexists(path)]
        for path in files:
            if not os.path.isfile(path):
                self._report_file(path, DataError(f"{path}: expected a label file, and it is none.", hint="Remove it."))
        files = [path for path in files if os.path.isfile(path)]
        contents = [read_bytes(path, most=MAX_LABELS) for path in files] if len(files) > 1 else []
        for other, content in zip(files[1:], contents[1:], strict=True):
            if content.split() != contents[0].split() and _are_rows(content):  # a text beside a photo may be anything
                text = f"{files[0]} and {other} both are labels of {image.name}, and differ."
                self._report_file(other, DataError(text, hint="Remove one of them."))
        return files[0] if files else None

    def _report_file(self, file: Path, error: DataError) -> None:
        self.problems.report("unreadable-annotation", error, where=self._relative(file))

    def _as_stored(self, path: Path) -> Path:
        """Return a path in the form of Unicode in which its folders and its file are stored, if they are."""
        root = self.root if path.is_relative_to(self.root) else path.parent
        return in_any_form(root, PurePosixPath(path.relative_to(root)))

    def _boxes(self, image: Path) -> tuple[Box, ...]:
        """Return the boxes of an image relative to its width and height, read once."""
        if image not in self._relative_boxes:
            file = self._label_of[image]
            self._relative_boxes[image] = tuple(self._rows(file)) if file else ()
        return self._relative_boxes[image]

    def _rows(self, file: Path) -> list[Box]:
        """Return the boxes of one label file, relative to the image's width and height."""
        name = self._relative(file)
        refuse_links_out(file, root=self.root, where=name)
        try:
            lines = read_bytes(file, most=MAX_LABELS).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            self._report_file(file, DataError(f"{file}: cannot be read as text: {reason_of(error)}."))
            return []
        boxes = []
        for number, line in enumerate(lines, 1):
            if fields := line.split():
                where = f"{name}, line {number}"
                try:
                    boxes.append(self._row(fields, where))
                except _UnknownClassError as error:
                    self.problems.report("unknown-label", error, where=where)
                except DataError as error:
                    self.problems.report("unreadable-annotation", error, where=where)
        return boxes

    def _row(self, fields: Sequence[str], where: str) -> Box:
        numbers = [number for field in fields if (number := read_number(field)) is not None]
        if len(numbers) < len(fields):
            raise DataError(f"{where}: expected numbers only, got {short(' '.join(fields))}.")
        key, *values = numbers
        names = self.config.names
        if not key.is_integer() or key < 0:
            raise DataError(f"{where}: the class must be a whole number from 0, got {short(fields[0])}.")
        if key >= len(names):
            raise _UnknownClassError(
                f"{where}: class {int(key)}, but {self.config.file.name} has {len(names)} names, 0 to "
                f"{len(names) - 1}.",
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
        return Box(xyxy=self._corners(values, where), label=names[int(key)], where=where)

    def _corners(self, values: Sequence[float], where: str) -> tuple[float, float, float, float]:
        if len(values) == 4:
            x, y, w, h = values
            return x - w / 2, y - h / 2, x + w / 2, y + h / 2
        if len(values) >= 6 and len(values) % 2 == 0:
            self._polygons += 1
            return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
        raise DataError(
            f"{where}: expected a class and four numbers, or a polygon of three points and more, got "
            f"{counted(len(values), 'number')} after the class.",
            hint="A sixth column is a score: then these are predictions. Poses need kpt_shape in data.yaml.",
        )


class _UnknownClassError(DataError):
    """A class id that has no name."""


def _top_of_images(parent: Path, folder: Path) -> Path:
    """Return the folder itself, or of one below it the part up to the last `images`, whose labels mirror it."""
    parts = parent.relative_to(folder).parts
    if "images" not in parts:
        return folder
    return folder.joinpath(*parts[: len(parts) - parts[::-1].index("images")])


def _are_rows(content: bytes) -> bool:
    """Return whether a text could be labels: a number begins each line, and four and more words follow."""
    lines = [line.split() for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    return bool(lines) and all(len(fields) >= 5 and read_number(fields[0]) is not None for fields in lines)


def _label_paths(image: Path, root: Path) -> list[Path]:
    """Return where the labels of an image may be: in labels/ for the last images/ of its path, and beside it."""
    parts = list(image.relative_to(root).parts) if image.is_relative_to(root) else [image.name]
    beside = image.with_suffix(".txt")
    if "images" not in parts[:-1]:
        return [beside]
    last = len(parts) - 2 - parts[-2::-1].index("images")
    return [root.joinpath(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt"), beside]


def _existing(image: Path) -> Path | None:
    return image if os.path.isfile(image) else None


def _scaled(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box.xyxy
    return dataclasses.replace(box, xyxy=(x1 * width, y1 * height, x2 * width, y2 * height))
