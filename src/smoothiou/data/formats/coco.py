"""COCO: one JSON file per split. No torch.

    annotations/instances_train2017.json, annotations/instances_train.json, annotations/train.json,
    train.json, train/_annotations.coco.json, or the path of one such file;
    images in images/train2017/, train2017/, images/, the data folder, or beside the JSON.

`bbox` is (x, y, width, height), 0-based. Category ids may start anywhere and have gaps.

Several files can also be cut 80/20 together, as `cut-train` and `cut-val`: by a JSON file with "split" in its name,
{"train": ["SPLIT/FILE_NAME", ...], "val": [...]}, in the data folder or in annotations/, else by a seed.
Reference: Lin et al., Microsoft COCO, ECCV 2014; https://cocodataset.org/#format-data
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou.data.copies import Locate, group_copies
from smoothiou.data.faults import first_names
from smoothiou.data.foreign import ForeignFileError
from smoothiou.data.formats.base import Entry, Format, Options, Problems, class_notes
from smoothiou.data.formats.coco_json import (
    Image,
    load_json,
    read_boxes,
    read_categories,
    read_images,
    read_json,
    summary,
)
from smoothiou.data.image_finder import ImageFinder
from smoothiou.data.listing import cached_by_file, files_in, folders_in
from smoothiou.data.records import Box
from smoothiou.data.splits import CUT_SHARES, USUAL, in_usual_order, photo, seeded_cut, usual_name
from smoothiou.errors import DataError
from smoothiou.files import (
    open_regular,
    refuse_links_out,
)
from smoothiou.words import counted

_OTHER_TASKS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
CUTS = {"cut-train": "train", "cut-val": "val"}
_NO_SPLIT = {"", "instances", "instance", "annotations", "annotation", "coco", "labels", "bbox", "default", "result"}


Parsed = tuple[dict[Any, Image], dict[Any, list[Box]], set[Any]]


class Coco(Format):
    """A folder of COCO files, or one of them."""

    format = "coco"
    layout = "annotations/*.json, *.json and */*.json with images, annotations and categories"
    images_in = "images/SPLIT/, SPLIT/, images/, the data folder and beside the JSON"

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self.root, self.files = find_files(path)
        self.name = self.root.resolve().name
        (split, file), *others = self.files.items()
        self.whole = file if not others and usual_name(split) not in USUAL else None
        """The only file, if its name gives no split: it is cut."""
        self._listed: dict[str, None] = {}
        self._parsed: dict[Path, Parsed] = {}
        self.splits = (*in_usual_order(self.files), *(CUTS if len(self.files) > 1 else ()))
        if self.whole:
            self.splits = tuple(CUT_SHARES[self.options.cut])
            self.notes.append(f"split {self.options.cut} by seed {self.options.split_seed}: none is shipped")

    @classmethod
    def fits(cls, path: Path) -> bool:
        return path.suffix.lower() == ".json" if path.is_file() else bool(_candidates(path)[1])

    def files_splits(self) -> tuple[str, ...]:
        if self.whole:
            return self.splits if self._entries_of(self.whole, "") else ()
        return tuple(self.files)

    def has_boxes(self, split: str) -> bool:
        return bool(self.whole) or split in CUTS or bool(summary(self.files[split]).labels)

    def entries(self, split: str) -> list[Entry]:
        if self.whole:
            entries, names = self._entries_of(self.whole, split), set(self._cut[split])
        elif split in CUTS:
            entries = [entry for part, file in self.files.items() for entry in self._entries_of(file, split, part)]
            cut, notes = cut_all({e.name: e.locate for e in entries}, root=self.root, seed=self.options.split_seed)
            self.notes += notes
            names = set(cut[CUTS[split]])
        else:
            return self._entries_of(self.files[split], split)
        return [entry for entry in entries if entry.name in names]

    @functools.cached_property
    def _cut(self) -> dict[str, list[str]]:
        """The names of each part of the only file."""
        assert self.whole is not None
        return self.cut_by_seed({entry.name: entry.locate for entry in self._entries_of(self.whole, "")})

    def classes(self) -> tuple[str, ...]:
        parts = [summary(self.files[split]) for split in in_usual_order(self.files)]
        names = tuple(dict.fromkeys(name for part in parts for name in part.categories))
        boxed = frozenset[str]().union(*(part.labels for part in parts))
        if not boxed:
            raise DataError(f"{self.name}: no category has a box in any split.")
        self.notes = class_notes(names, boxed, ids=parts[0].categories, kind="category") + self.notes
        return tuple(name for name in names if name in boxed)

    def listed_classes(self) -> tuple[str, ...]:
        return tuple(self._listed)

    def labels(self, split: str) -> dict[str, set[str]]:
        """Return the class names of the boxes of each file; nothing of a cut."""
        if self.whole or split in CUTS:
            return {}
        return {part: set(summary(file).labels) for part, file in self.files.items()}

    def _parse(self, file: Path) -> Parsed:
        """Return the images of a file by id, their boxes, and the ids that two images have."""
        try:
            content = read_json(file)
            categories = read_categories(content, file)
        except DataError as error:
            if isinstance(error, ForeignFileError) and len(self.files) == 1:
                raise  # there is nothing else to examine, and only the hint helps
            self.problems.report("unreadable-annotation", error, where=file.name)
            return {}, {}, set()
        self._listed |= dict.fromkeys(categories.values())
        images, key_of, unsure = read_images(content, file, self.problems)
        return images, read_boxes(content, file, images=key_of, categories=categories, problems=self.problems), unsure

    def _entries_of(self, file: Path, split: str, prefix: str = "") -> list[Entry]:
        """Return the images of one file; their names begin with a prefix where several files are read."""
        if file not in self._parsed:
            self._parsed[file] = self._parse(file)
        images, boxes, unsure = self._parsed[file]
        folder = file_split(file, self.root)
        beside = (self.root / "images" / folder, self.root / folder, self.root / "images", self.root, file.parent)
        finder = ImageFinder(self.root, beside)
        return [
            Entry(
                name=f"{prefix}/{image.file_name}" if prefix else image.file_name,
                split=split,
                where=f"{file.name}: {image.file_name}",
                locate=functools.partial(finder.by_path, image.file_name, where=image.where),
                boxes=tuple(boxes[key]),
                annotated=image.size,
                sure=key not in unsure,
            )
            for key, image in images.items()
        ]


# ---- which file is which split


def find_files(path: Path) -> tuple[Path, dict[str, Path]]:
    """Return the data folder and the file of every split.

    Raises:
        DataError: no file, or two for one split.
    """
    root, candidates = _candidates(path)
    files: dict[str, Path] = {}
    for file in candidates:
        name = file_split(file, root)
        if name in files:
            raise DataError(
                f'{files[name]} and {file} both hold the split "{name}".', hint="Pass one of them directly."
            )
        files[name] = refuse_links_out(file, root=root, where=root.resolve().name)
    if not files:
        raise DataError(f"{path}: no COCO file found; looked for annotations/*.json, *.json and */*.json.")
    return root, files


def file_split(file: Path, root: Path) -> str:
    """Return the split that a file's name gives: `instances_train2017.json` holds `train2017`.

    A name that gives none (`_annotations.coco.json`) leaves it to its folder; if that gives none either, it is "".
    """
    parts = [part for part in re.split(r"[_.\-\s]+", file.stem) if part.lower() not in _NO_SPLIT]
    if parts:
        return "_".join(parts)
    folder = file.parent.name if file.parent.resolve() != root.resolve() else ""
    return "" if folder.lower() in _NO_SPLIT else folder


def _candidates(path: Path) -> tuple[Path, list[Path]]:
    """Return the data folder and every COCO file in it."""
    if path.is_file():
        parent = path.absolute().parent
        inner = parent.name == "annotations" or usual_name(parent.name) in USUAL
        return (parent.parent if inner else parent), [path]
    files: list[Path] = []
    others: list[Path] = []
    children = folders_in(path)
    for folder in sorted({*children, path}, key=lambda each: (each.name != "annotations", each != path, each)):
        candidates = files_in(folder, ".json")
        # Beside instances_*.json, the official archive has captions and key points of the same images.
        instances = [file for file in candidates if file.name.startswith("instances_")]
        rest = (file for file in candidates if not (instances and file.name.startswith(("instances_", *_OTHER_TASKS))))
        of_coco = {file: _is_coco_file(file) for file in rest}
        files += [*instances, *(file for file, fits in of_coco.items() if fits)]
        others += [file for file, fits in of_coco.items() if not fits and _is_nearly_coco(file)]
    return path, [*files, *others] if files else []


def _is_nearly_coco(file: Path) -> bool:
    """Return whether a file beside COCO's is called like a split and holds objects, or COCO's keys in other letters."""
    if usual_name(file_split(file, file.parent)) not in USUAL:
        return False
    content = load_json(file)
    if isinstance(content, list):
        return all(isinstance(entry, dict) for entry in content)
    return isinstance(content, dict) and any(key.lower() in ("images", "annotations") for key in content)


def _is_coco_file(file: Path) -> bool:
    try:
        return _has_coco_keys(file)
    except DataError:
        # A broken file that is named like an annotation file, or begins like one, is to be reported, not passed over.
        is_named = usual_name(file_split(file, file.parent)) in USUAL or file.name.endswith(".coco.json")
        return is_named or _begins_like_coco(file)


def _begins_like_coco(file: Path) -> bool:
    try:
        with open_regular(file) as content:
            text = content.read(2**20)
        return b'"images"' in text and re.search(rb'"(file_name|category_id|supercategory)"', text) is not None
    except (DataError, OSError):
        return False


@cached_by_file(256)
def _has_coco_keys(file: Path) -> bool:
    content = load_json(file)
    return isinstance(content, dict) and "images" in content and ("annotations" in content or "categories" in content)


# ---- the cut of all files together


def cut_all(files: Mapping[str, Locate], *, root: Path, seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return the names of `train` and `val`, by the folder's list or a seed, and notes on it.

    Copies of one photo are on one side, whichever files they were in.

    Args:
        files: return the paths of all images, by their names, `SPLIT/FILE_NAME`.
        root: the data folder.
        seed: of the cut, where the folder has no list.

    Raises:
        DataError: a list names an image that does not exist, or has copies of one photo on both sides.
    """
    shipped = _shipped_cut(root)
    if shipped is None:
        group, notes = group_copies(files)
        return seeded_cut(files, seed=seed, group_of=group), [f"all files together, split 80/20 by seed {seed}", *notes]
    file, cut = shipped
    for part, listed in cut.items():
        if unknown := [name for name in listed if name not in files]:
            raise DataError(
                f"{file}: no image of the split {part} is called {first_names(unknown)}.",
                hint="Write SPLIT/FILE_NAME, as in train/0001.jpg.",
            )
    photos = {part: {photo(name) for name in listed} for part, listed in cut.items()}
    if both := sorted(photos["train"] & photos["val"]):
        raise DataError(f"{file}: copies of one photo are in train and val: {first_names(both)}.", hint="Move them.")
    notes = [f"train and val are the lists of {file.name}"]
    if unlisted := sorted(files.keys() - {name for listed in cut.values() for name in listed}):
        count = counted(len(unlisted), "image that it does not name was", "images that it does not name were")
        notes.append(f"{count} left out: {first_names(unlisted)}")
    return cut, notes


def _shipped_cut(root: Path) -> tuple[Path, dict[str, list[str]]] | None:
    """Return the file that lists a cut, and its lists, if there is one."""
    folders = (folder for folder in (root / "annotations", root) if folder.is_dir())
    for file in (file for folder in folders for file in files_in(folder, ".json") if "split" in file.name):
        content = load_json(file)
        lists: Any = [content.get(part) for part in ("train", "val")] if isinstance(content, dict) else [None]
        if all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
            return file, dict(zip(("train", "val"), lists, strict=True))
    return None
