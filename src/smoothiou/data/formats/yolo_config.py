"""What YOLO's data.yaml says, or classes.txt where there is none: splits, class names, the data folder. No torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smoothiou.data.image_finder import list_images
from smoothiou.data.listing import files_in, folders_in
from smoothiou.data.splits import usual_name
from smoothiou.errors import DataError
from smoothiou.files import check_word, is_inside, limits, read_bytes, real_folder, reason_of, short

MAX_YAML = 2**18
"""Bytes of data.yaml."""
_SPLITS = ("train", "val", "valid", "validation", "test")
_NOTHING = ("", "~", "null", "none")


@dataclass(frozen=True, slots=True)
class YoloConfig:
    """What data.yaml says.

    Args:
        file: for messages.
        root: the folder that holds the data.
        splits: for each split, its folders or lists, as written.
        names: of the classes, in the order of their ids.
        keypoint_values: numbers of a pose after the box; 0 where there are none.
    """

    file: Path
    root: Path
    splits: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    keypoint_values: int = 0


def read_config(path: Path) -> YoloConfig:
    """Return what data.yaml says, or classes.txt where there is none.

    Args:
        path: the data folder, or the YAML file itself.

    Raises:
        DataError: not readable, no names, or data outside the folder of the file.
    """
    file = path if path.is_file() else config_file(path)
    assert file is not None  # `fits` was asked
    folder = file.parent if file == path else path
    if file.name == "classes.txt":
        try:
            lines = read_bytes(file, most=MAX_YAML).decode("utf-8-sig").rstrip().splitlines()
        except ValueError as error:
            raise DataError(f"{file}: cannot be read as text: {reason_of(error)}.", hint="Save it as UTF-8.") from None
        names = _class_names([line.strip() for line in lines], {}, file)
        return YoloConfig(file, folder, _split_folders(folder), names)
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected keys train, val and names, got {type(content).__name__}.")
    splits = {}
    if unknown := [key for key in content if key not in _SPLITS and usual_name(str(key)) in ("train", "val", "test")]:
        raise DataError(f"{file}: {short(unknown[0])} is not understood.", hint=f"Known: {', '.join(_SPLITS)}.")
    for split in _SPLITS:
        sources = content.get(split, "")
        sources = [sources] if isinstance(sources, str) else sources
        if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
            raise DataError(f"{file}: {split}: expected a path or a list of paths, got {type(sources).__name__}.")
        if sources := [source for source in sources if source.strip().lower() not in _NOTHING]:
            splits[split] = tuple(sources)
    if "train" not in splits:
        raise DataError(f"{file}: train is missing.", hint="Write train: and the folder of its images.")
    shape = _given(content, "kpt_shape")
    if shape is not None and not (isinstance(shape, list) and len(shape) == 2 and all(map(_is_count, shape))):
        raise DataError(
            f"{file}: kpt_shape: expected two numbers, got {short(shape)}.", hint="Write kpt_shape: [17, 3]."
        )
    values = math.prod(map(int, shape)) if shape else 0
    names = _class_names(content.get("names"), content, file)
    return YoloConfig(file, _root(folder, content.get("path"), file), splits, names, values)


def _split_folders(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the folders of images/ if they are called like splits, all of them, and no image lies beside them."""
    images = folder / "images"
    if not images.is_dir():
        return {}
    inner = folders_in(images)
    splits = {usual_name(each.name): (f"images/{each.name}",) for each in inner}
    is_whole = splits.keys() <= {"train", "val", "test"} and len(splits) == len(inner) and not list_images(images)
    return splits if is_whole and "train" in splits and len(splits) > 1 else {}


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, and refuses a key that stands twice, of which a reader would see one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep=deep)
        if len(content) < len(node.value):
            raise yaml.constructor.ConstructorError(problem="a key stands twice", problem_mark=node.start_mark)
        return content


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file, every scalar as text: a class called `no` is no boolean.

    Raises:
        DataError: it cannot be read, or is not YAML; with the line.
    """
    try:
        return yaml.load(read_bytes(file, most=MAX_YAML).decode("utf-8-sig"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{file}{line}: not YAML: {error.problem}.", hint="Repair it.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read as YAML: {reason_of(error)}.") from None


def _given(content: Mapping[str, Any], key: str) -> Any:
    """Return a value, or None where there is none: YAML's words for nothing are texts here."""
    value = content.get(key)
    return None if isinstance(value, str) and value.strip().lower() in _NOTHING else value


def _is_count(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9]{1,6}", text) is not None


def _root(folder: Path, path: Any, file: Path) -> Path:
    """Return the data folder: that of data.yaml, or what its `path` names."""
    if path is None or (isinstance(path, str) and path.strip().lower() in (*_NOTHING, ".")):
        return folder
    if not isinstance(path, str) or "\0" in path:
        raise DataError(f"{file}: path: expected a folder, got {type(path).__name__}.")
    named = Path(os.path.normpath(folder / os.path.expanduser(path)))
    if not os.path.isdir(named) or named == folder:  # of another machine, or relative to Ultralytics' own folder
        return folder
    if not limits().links and not is_inside(named, (real_folder(folder),)):
        raise DataError(
            f"{file}: path: {path} leads out of the folder of this file.",
            hint="Put the file into the folder of the data, or allow it with --data.follow_links true.",
        )
    return named


def _class_names(names: Any, content: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """Return the names in the order of their ids, from a list or a mapping of ids.

    Raises:
        DataError: none, an id left out, or another number of them than `nc` says.
    """
    count = _given(content, "nc")
    if isinstance(names, dict):
        ids = sorted(int(key) if _is_count(key) else -1 for key in names)
        if ids != list(range(len(names))):
            raise DataError(f"{file}: names: expected the ids 0 to {len(names) - 1}, got {short(list(names))}.")
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{file}: names: expected the names of the classes.", hint="Write names: [cat, dog].")
    if count is not None and not _is_count(count):
        raise DataError(f"{file}: nc: expected a number, got {short(count)}.", hint="Correct or remove it.")
    if count is not None and int(count) != len(names):
        raise DataError(f"{file}: nc is {count}, but there are {len(names)} names.", hint="Correct one of them.")
    return tuple(check_word(name, what="class", where=str(file)) for name in names)


def config_file(folder: Path) -> Path | None:
    """Return the YAML file of a folder that names classes and a training split; else its classes.txt."""
    if not folder.is_dir():
        return None
    files = files_in(folder, ".yaml", ".yml")
    for file in sorted(files, key=lambda path: path.stem != "data"):
        if file.stem in ("data", "dataset"):  # a broken one is to be reported, not passed over
            return file
    fitting = list(filter(_has_keys, files))
    if len(fitting) > 1:
        names = ", ".join(file.name for file in fitting)
        raise DataError(f"{folder}: {names} each name classes and a training split.", hint="Pass one of them.")
    if fitting:
        return fitting[0]
    lists = (folder / "classes.txt", folder / "labels" / "classes.txt")
    labelled = any(path.name != "classes.txt" for path in (folder / "labels").rglob("*.txt"))
    labelled |= bool({image.stem for image in list_images(folder)} & {file.stem for file in files_in(folder, ".txt")})
    return next((path for path in lists if labelled and path.is_file()), None)


def _has_keys(file: Path) -> bool:
    try:
        content = read_yaml(file)
    except DataError:
        return False
    return isinstance(content, dict) and {"train", "names"} <= content.keys()
