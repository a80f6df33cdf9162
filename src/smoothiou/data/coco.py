"""COCO: one JSON file per split. No torch.

    annotations/instances_train2017.json, annotations/instances_train.json, annotations/train.json,
    train.json, train/_annotations.coco.json, or the path of one such file;
    images in images/train2017/, train2017/, images/, the data folder, or beside the JSON.

`bbox` is (x, y, width, height), 0-based. Category ids may start anywhere and have gaps.
Reference: Lin et al., Microsoft COCO, ECCV 2014; https://cocodataset.org/#format-data
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path
from typing import Any

from smoothiou.data import coco_cut
from smoothiou.data.coco_file import load_json, read_boxes, read_categories, read_images, read_json, summary
from smoothiou.data.faults import first_names, fit_boxes, refuse_dropped, refuse_missing_images, size_fault
from smoothiou.data.images import ImageFinder, image_size
from smoothiou.data.records import Box, Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import USUAL, find_split, in_usual_order, seeded_cut, unlearnt, usual_name
from smoothiou.errors import DataError
from smoothiou.files import refuse_links_out, require_regular

Images = dict[Any, dict[str, Any]]


def read(path: Path, *, split: str, split_seed: int, allow_dropped: int) -> Dataset:
    """Return one split.

    Args:
        path: the data folder, or one JSON file.
        split: name of the split, or how it is usually called; `cut-train` and `cut-val` cut all files together.
        split_seed: of the cut, where there is only one file and its name tells no split.
        allow_dropped: how many faulty boxes may be left out.

    Raises:
        DataError: what the file of the split has wrong, with the index of the entry.
    """
    root, files = find_files(path)
    data = root.resolve().name
    name = find_split(split, _split_names(files), data=data)
    whole = _whole(files)
    classes, notes = _classes(files, data=data)
    wanted = {"": whole} if whole else files if name in coco_cut.NAMES else {name: files[name]}
    contents = {part: _read_file(file) for part, file in wanted.items()}
    labels = {part: set(summary(other).labels) for part, other in files.items()}
    if whole or name in coco_cut.NAMES:
        names = [_name(part, image) for part, (images, _) in contents.items() for image in images.values()]
        if whole:
            cut = seeded_cut(names, seed=split_seed)[name]
            notes.append(f"split 80/20 by seed {split_seed}: none is shipped")
        else:
            both, how = coco_cut.cut_all(names, root=root, seed=split_seed)
            cut = both[coco_cut.NAMES[name]]
            notes += how
        contents = {part: (_of(images, set(cut), part), boxes) for part, (images, boxes) in contents.items()}
        labels = {name: set[str]()}
    records, faults = [], []
    for part, (images, boxes) in contents.items():
        prefix = part if len(contents) > 1 else ""
        found, wrong = _records(images, boxes, file=wanted[part], root=root, data=data, prefix=prefix)
        records += found
        faults += wrong
    if not records:
        raise DataError(f'{data}: the split "{name}" has no images.', hint="Choose another split.")
    refuse_dropped(faults, allow_dropped=allow_dropped, data=data)
    return Dataset(
        name=data,
        format="coco",
        split=name,
        classes=classes,
        records=tuple(records),
        faults=tuple(faults),
        notes=(*notes, *unlearnt(labels, name)),
    )


def _read_file(file: Path) -> tuple[Images, dict[Any, list[Box]]]:
    """Return the images of one file and their boxes, by image id."""
    content = read_json(file)
    images = read_images(content, file)
    return images, read_boxes(content, file, images=images, categories=read_categories(content, file))


def _name(part: str, image: dict[str, Any]) -> str:
    """Return the name of an image: with its split, where several are read."""
    return f"{part}/{image['file_name']}" if part else image["file_name"]


def _of(images: Images, names: set[str], part: str) -> Images:
    return {key: image for key, image in images.items() if _name(part, image) in names}


def split_names(path: Path) -> tuple[str, ...]:
    """Return the names of the splits that have boxes."""
    _, files = find_files(path)
    free = coco_cut.NAMES if not _whole(files) else ("train", "val")
    return tuple(name for name in _split_names(files) if name in free or summary(files[name]).labels)


def is_coco(path: Path) -> bool:
    """Return whether a folder or file is in one of the layouts read here."""
    return bool(_candidates(path)[1])


# ---- which file is which split


def find_files(path: Path) -> tuple[Path, dict[str, Path]]:
    """Return the data folder and the file of every split.

    Raises:
        DataError: no file, or two for one split.
    """
    root, candidates = _candidates(path)
    data = root.resolve().name
    files: dict[str, Path] = {}
    for file in candidates:
        name = file_split(file, root)
        if name in files:
            raise DataError(
                f'{files[name]} and {file} both hold the split "{name}".', hint="Pass one of them directly."
            )
        files[name] = refuse_links_out(file, root=root, where=data)
    if not files:
        raise DataError(f"{path}: no COCO file found; looked for annotations/*.json, *.json and */*.json.")
    return root, files


def file_split(file: Path, root: Path) -> str:
    """Return the split that a file name tells: `instances_train2017.json` holds `train2017`.

    A name that tells nothing (`_annotations.coco.json`) leaves it to its folder; if that tells
    nothing either, it is "".
    """
    noise = {
        "",
        "instances",
        "instance",
        "annotations",
        "annotation",
        "coco",
        "labels",
        "bbox",
        "default",
        "result",
    }
    words = [word for word in re.split(r"[_.\-\s]+", file.stem) if word.lower() not in noise]
    if words:
        return "_".join(words)
    told = file.parent.name if file.parent.resolve() != root.resolve() else ""
    return "" if told.lower() in noise else told


def _candidates(path: Path) -> tuple[Path, list[Path]]:
    """Return the data folder and every COCO file in it."""
    if path.is_file():
        parent = path.absolute().parent
        inner = parent.name == "annotations" or usual_name(parent.name) in USUAL
        return (parent.parent if inner else parent), [path]
    found: list[Path] = []
    children = sorted(child for child in path.iterdir() if child.is_dir())
    for folder in dict.fromkeys((path / "annotations", path, *children)):
        files = sorted(folder.glob("*.json"))
        # Beside instances_*.json, the official archive has captions and key points of the same images.
        instances = [file for file in files if file.name.startswith("instances_")]
        found += instances or [file for file in files if _is_coco_file(file)]
    return path, found


def _is_coco_file(file: Path) -> bool:
    try:
        stat = require_regular(file)
    except OSError:
        return _is_called_like_one(file)
    return _is_coco_file_now(file.absolute(), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _is_coco_file_now(file: Path, _modified: int, _size: int) -> bool:
    try:
        content = load_json(file)
    except DataError:
        return _is_called_like_one(file)
    return isinstance(content, dict) and "images" in content and ("annotations" in content or "categories" in content)


def _is_called_like_one(file: Path) -> bool:
    # A broken file that is called like an annotation file is to be named, not passed over.
    return usual_name(file_split(file, file.parent)) in USUAL or file.name.endswith(".coco.json")


def _whole(files: dict[str, Path]) -> Path | None:
    """Return the only file, if its name tells no split."""
    only = next(iter(files.items())) if len(files) == 1 else None
    return only[1] if only and usual_name(only[0]) not in USUAL else None


def _split_names(files: dict[str, Path]) -> tuple[str, ...]:
    if _whole(files):
        return ("train", "val")
    return (*in_usual_order(files), *(coco_cut.NAMES if len(files) > 1 else ()))


def _classes(files: dict[str, Path], *, data: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the class names of all splits, in the order of the category ids, without those of no box."""
    order = [file for _, file in sorted(files.items(), key=lambda item: in_usual_order(files).index(item[0]))]
    parts = [summary(file) for file in order]
    names = tuple(dict.fromkeys(name for part in parts for name in part.categories))
    boxed = frozenset[str]().union(*(part.labels for part in parts))
    if not boxed:
        raise DataError(f"{data}: no category has a box in any split.")
    empty = [name for name in names if name not in boxed]
    notes = [f"left out, having no box in any split: {first_names(empty)}"] if empty else []
    for name, count in Counter(parts[0].categories).items():
        if count > 1:
            notes.append(f'{count} category ids are called "{name}" and were read as one class')
    return tuple(name for name in names if name in boxed), notes


def _records(
    images: Images, boxes: dict[Any, list[Box]], *, file: Path, root: Path, data: str, prefix: str
) -> tuple[list[Record], list[Fault]]:
    folder = file_split(file, root)
    finder = ImageFinder(root, (root / "images" / folder, root / folder, root / "images", root, file.parent))
    records, faults, missing = [], [], []
    for key, image in images.items():
        name = image["file_name"]
        path = finder.by_path(name, where=image["where"])
        if path is None:
            missing.append(name)
            continue
        width, height = image_size(path)
        told = image.get("width"), image.get("height")
        annotated = (told[0], told[1]) if type(told[0]) is int and type(told[1]) is int else None
        kept, wrong = fit_boxes(boxes[key], width=width, height=height)
        faults += size_fault(f"{file.name}: {name}", annotated=annotated, actual=(width, height)) + wrong
        called = _name(prefix, image)
        records.append(Record(name=called, source=ImageFile(path), width=width, height=height, boxes=kept))
    refuse_missing_images(
        missing,
        data=data,
        looked_in="images/SPLIT/, SPLIT/, images/, the data folder and beside the JSON",
        hint="Put them there, or remove their entries.",
    )
    return records, faults
