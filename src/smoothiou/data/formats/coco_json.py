"""One JSON file of COCO: what is understood is read, what is not is named. No torch."""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smoothiou.data.foreign import ForeignFileError, foreign_json
from smoothiou.data.formats.base import Problems
from smoothiou.data.listing import cached_by_file
from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import (
    check_word,
    read_bytes,
    read_flag,
    read_size,
    reason_of,
    short,
)

MAX_BYTES = 2**31
"""Of a JSON file; COCO's own training file has 450 MB."""
_KEYS = ("images", "annotations", "categories")
_OPTIONAL = ("width", "height", "ignore", "iscrowd")
"""Keys that an entry may lack, so that another spelling of them would count as absent."""
_OTHER_FLAGS = ("difficult", "isdifficult", "crowd", "ignored")


class Image(NamedTuple):
    """An entry of "images": its file, where it stands in the JSON, and its size if it has one."""

    file_name: str
    where: str
    size: tuple[int, int] | None


def read_json(file: Path) -> dict[str, list[Any]]:
    """Return the content of a COCO file with its three lists.

    Raises:
        DataError: not JSON (with the line), or a list is missing.
    """
    return require_lists(load_json(file), file)


def require_lists(content: Any, file: Path) -> dict[str, list[Any]]:
    """Return the content of a COCO file if it has the three lists."""
    for key in _KEYS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            message, tool = f'{file}: expected an object with a list "{key}".', foreign_json(content)
            if tool:
                raise ForeignFileError(message, hint=tool)
            raise DataError(message, hint=f"A COCO file has {', '.join(_KEYS)}.")
    return content


def load_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read, or is not JSON; with the line.
    """
    try:
        content = read_bytes(file, most=MAX_BYTES)
    except OSError as error:
        raise DataError(f"{file}: cannot be read as JSON: {reason_of(error)}.") from None
    return parse_json(content, file)


def parse_json(content: bytes, file: Path) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text.
        file: that holds it, for messages.

    Raises:
        DataError: it is not JSON (with the line), or one object has a key twice, of which a reader would see one.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON: {error.msg}.", hint="Repair it.") from None
    except RecursionError:
        raise DataError(f"{file}: not JSON of COCO: its brackets are nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as JSON: {error}.") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {short(repeated)} twice")
    return content


@dataclass(frozen=True, slots=True)
class Summary:
    """What the other splits need to know of one file: its class names, and those of them that have a box."""

    categories: tuple[str, ...]
    labels: frozenset[str]


@cached_by_file(64)  # COCO's own training file has 450 MB, and every split asks for it
def summary(file: Path) -> Summary:
    """Return the class names of a file.

    Raises:
        DataError: see `read_json`.
    """
    content = read_json(file)
    categories = read_categories(content, file)
    used = set()
    for index, annotation in enumerate(content["annotations"]):
        where = f"{file}: annotations[{index}]"
        (key,) = _values(annotation, ("category_id",), where)
        if key not in categories:
            raise _unknown_category(where, key)
        used.add(key)
    return Summary(tuple(categories.values()), frozenset(categories[key] for key in used))


def _unknown_category(where: str, key: Any) -> DataError:
    return DataError(f"{where}: no category has the id {short(key)}.", hint="Add it to the categories.")


def read_categories(content: dict[str, Any], file: Path) -> dict[Any, str]:
    """Return category names by id, in the order of the ids."""
    names: dict[Any, str] = {}
    for index, category in enumerate(content["categories"]):
        where = f"{file}: categories[{index}]"
        key, name = _values(category, ("id", "name"), where)
        if key in names:
            raise DataError(f"{where}: the id {short(key)} is taken by an earlier category.", hint="Ids must differ.")
        if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
            raise DataError(f'{where}: "name" must be a text, got {short(name)}.')
        names[key] = check_word(str(name), what="class", where=where)
    if not names:
        raise DataError(f'{file}: "categories" is empty, so no class has a name.', hint="List the classes in it.")
    return dict(sorted(names.items(), key=lambda item: (str(type(item[0])), item[0])))


def read_images(
    content: dict[str, Any], file: Path, problems: Problems
) -> tuple[dict[Any, Image], dict[Any, Any], set[Any]]:
    """Return the images by id, the id under which the boxes of each id are collected, and the ids of two images.

    Two entries of one file are one photo that would be learnt twice, each time with a part of its boxes as background;
    the doctor puts their boxes together.
    """
    images: dict[Any, Image] = {}
    key_of: dict[Any, Any] = {}
    by_name: dict[str, Any] = {}
    unsure: set[Any] = set()
    for index, image in enumerate(content["images"]):
        where = f"{file}: images[{index}]"
        report = functools.partial(problems.report, where=f"{file.name}: images[{index}]")
        try:
            key, name = _values(image, ("id", "file_name"), where)
            if not isinstance(name, str) or not name:
                raise DataError(f'{where}: "file_name" must be a text, got {short(name)}.')
        except DataError as error:
            report("unreadable-annotation", error)
            continue
        if key in images:
            text = f"{where}: the id {short(key)} is taken by an earlier image, {short(images[key].file_name)}."
            report("duplicate-id", DataError(text, hint="Image ids must differ."))
            if images[key].file_name != name:
                unsure.add(key)
        elif name in by_name:
            text = f"{where}: {name} is listed under the id {short(by_name[name])}, too."
            hint = "Make one entry of them; smoothiou doctor DATA --fix OUT does."
            report("duplicate-name", DataError(text, hint=hint))
            key_of[key] = by_name[name]
        else:
            size = None
            try:
                size = read_size(image.get("width"), image.get("height"), where=where)
            except DataError as error:
                report("unreadable-annotation", error)
            images[key] = Image(name, where, size)
            key_of[key] = by_name[name] = key
    return images, key_of, unsure


def image_ids(content: dict[str, Any], file: Path) -> list[Any]:
    """Return the ids of the images, which need no name where only boxes are read.

    Raises:
        DataError: an entry has no id, or one that is no number and no text.
    """
    return [_values(image, ("id",), f"{file}: images[{index}]")[0] for index, image in enumerate(content["images"])]


def read_boxes(
    content: dict[str, Any], file: Path, *, images: dict[Any, Any], categories: dict[Any, str], problems: Problems
) -> dict[Any, list[Box]]:
    """Return boxes by image id, with an open end, not yet compared with their images.

    Args:
        content: of the file.
        file: for messages.
        images: for each known image id, the id under which its boxes are returned.
        categories: class names by id.
        problems: what is done about faults.
    """
    boxes: dict[Any, list[Box]] = {key: [] for key in images.values()}
    seen = set()
    for index, annotation in enumerate(content["annotations"]):
        where, short_where = f"{file}: annotations[{index}]", f"{file.name}: annotations[{index}]"
        report = functools.partial(problems.report, where=short_where)
        try:
            key, image, category, bbox = _values(annotation, ("id", "image_id", "category_id", "bbox"), where)
            x, y, width, height = _four_numbers(bbox, where)
            ignore, crowd = (
                read_flag(annotation.get(name, 0), name=name, where=where) for name in ("ignore", "iscrowd")
            )
        except DataError as error:
            report("unreadable-annotation", error)
            continue
        if category not in categories:
            report("unknown-label", _unknown_category(where, category))
            continue
        if image not in images:
            text = f"{where}: no image has the id {short(image)}."
            report("unknown-image", DataError(text, hint="Remove it, or add the image."))
            continue
        if key in seen:
            text = f"{where}: the id {short(key)} is taken by an earlier annotation."
            report("duplicate-id", DataError(text, hint="Annotation ids must differ."))
        seen.add(key)
        boxes[images[image]].append(
            Box(
                xyxy=(x, y, x + width, y + height),
                label=categories[category],
                difficult=ignore,
                crowd=crowd,
                where=short_where,
            )
        )
    return boxes


def _values(entry: Any, keys: tuple[str, ...], where: str) -> list[Any]:
    """Return the values of an entry's keys; ids must be numbers or texts."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object, got {short(entry)}.")
    for key in keys:
        if key not in entry:
            raise DataError(f'{where}: "{key}" is missing.', hint=f"It needs {', '.join(keys)}.")
        if (key == "id" or key.endswith("_id")) and type(entry[key]) not in (int, str):
            raise DataError(f'{where}: "{key}" must be a whole number or a text, got {short(entry[key])}.')
    for key in entry.keys() - set(_OPTIONAL):
        if (usual := _usual(key)) in _OPTIONAL:
            raise DataError(f"{where}: {short(key)} is not understood.", hint=f'Write "{usual}".')
        if usual in _OTHER_FLAGS and read_flag(entry[key], name=key, where=where):
            raise DataError(
                f"{where}: {short(key)} is set, and is not read.", hint='Write "ignore": 1 or "iscrowd": 1.'
            )
    return [entry[key] for key in keys]


@functools.lru_cache(1024)
def _usual(key: str) -> str:
    """Return a key in small letters, without signs."""
    return re.sub(r"[\W_]", "", key).lower()


def _four_numbers(bbox: Any, where: str) -> Iterable[float]:
    is_four = isinstance(bbox, list) and len(bbox) == 4
    if not is_four or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in bbox):
        raise DataError(f'{where}: "bbox" must be [x, y, width, height], got {short(bbox)}.')
    return (float(number) if abs(number) < 1e300 else math.inf for number in bbox)
