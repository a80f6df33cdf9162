"""The content of one COCO file, checked entry by entry. No torch."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import check_word, read_bytes, short

MAX_BYTES = 2**31
"""Of a JSON file; COCO's own training file has 450 MB."""
_KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the other splits need to know of one file: its class names, and those of them that have a box."""

    categories: tuple[str, ...]
    labels: frozenset[str]


def read_json(file: Path) -> dict[str, list[Any]]:
    """Return the content of a COCO file with its three lists.

    Raises:
        DataError: not JSON (with the line), or a list is missing.
    """
    content = load_json(file)
    for key in _KEYS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(
                f'{file}: expected an object with a list "{key}".',
                hint=f"A COCO file has {', '.join(_KEYS)}.",
            )
    return content


def load_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read, or is not JSON; with the line.
    """
    try:
        content = read_bytes(file, most=MAX_BYTES)
    except OSError as error:
        raise DataError(f"{file}: cannot be read as JSON: {error.strerror or error}.") from None
    return parse_json(content, file)


def parse_json(content: bytes, file: Path) -> Any:
    """Return what a text of JSON says.

    Args:
        content: the text.
        file: where it stands, for messages.

    Raises:
        DataError: it is not JSON (with the line), or one object has a key twice, of which a reader would see one.
    """
    try:
        return json.loads(content, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON: {error.msg}.", hint="Repair it.") from None
    except RecursionError:
        raise DataError(f"{file}: not JSON of COCO: its brackets are nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as JSON: {error}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {short(twice)} twice")
    return found


def summary(file: Path) -> Summary:
    """Return the class names of a file; asked again, it is not parsed again unless it changed.

    Raises:
        DataError: see `read_json`.
    """
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}.") from None
    return _summary_of(file.absolute(), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)
def _summary_of(file: Path, _modified: int, _size: int) -> Summary:
    # COCO's own training file has 450 MB, and every split asks for it.
    content = read_json(file)
    categories = read_categories(content, file)
    used = {_entry(a, ("category_id",), f"{file}: annotations[{i}]")[0] for i, a in enumerate(content["annotations"])}
    if not used <= categories.keys():
        unknown = min(used - categories.keys(), key=str)
        index = next(i for i, a in enumerate(content["annotations"]) if a["category_id"] == unknown)
        raise _unknown_category(f"{file}: annotations[{index}]", unknown)
    return Summary(tuple(categories.values()), frozenset(categories[key] for key in categories if key in used))


def _unknown_category(where: str, category_id: Any) -> DataError:
    return DataError(f"{where}: no category has the id {short(category_id)}.", hint="Add it to the categories.")


def read_categories(content: dict[str, Any], file: Path) -> dict[Any, str]:
    """Return category names by id, in the order of the ids."""
    found: dict[Any, str] = {}
    for index, category in enumerate(content["categories"]):
        where = f"{file}: categories[{index}]"
        key, name = _entry(category, ("id", "name"), where)
        if key in found:
            raise DataError(f"{where}: the id {short(key)} is taken by an earlier category.", hint="Ids must differ.")
        if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
            raise DataError(f'{where}: "name" must be a text, got {short(name)}.')
        found[key] = check_word(str(name), what="class", where=where)
    if not found:
        raise DataError(f'{file}: "categories" is empty, so no class has a name.', hint="List the classes there.")
    return dict(sorted(found.items(), key=lambda item: (str(type(item[0])), item[0])))


def read_images(content: dict[str, Any], file: Path) -> dict[Any, dict[str, Any]]:
    """Return the entries of images by id, each with its place in the file.

    Raises:
        DataError: an entry lacks a key, or its id is taken.
    """
    found: dict[Any, dict[str, Any]] = {}
    for index, image in enumerate(content["images"]):
        where = f"{file}: images[{index}]"
        key, name = _entry(image, ("id", "file_name"), where)
        if key in found:
            raise DataError(
                f"{where}: the id {short(key)} is taken by an earlier image.", hint="Image ids must differ."
            )
        if not isinstance(name, str):
            raise DataError(f'{where}: "file_name" must be a text, got {short(name)}.')
        found[key] = image | {"where": where}
    return found


def image_ids(content: dict[str, Any], file: Path) -> list[Any]:
    """Return the ids of the images, which need no name where only boxes are asked for.

    Raises:
        DataError: an entry has no id, or one that is no number and no text.
    """
    return [_entry(image, ("id",), f"{file}: images[{index}]")[0] for index, image in enumerate(content["images"])]


def read_boxes(
    content: dict[str, Any], file: Path, *, images: Iterable[Any], categories: dict[Any, str]
) -> dict[Any, list[Box]]:
    """Return boxes by image id, with an open end, not yet compared with their images."""
    boxes: dict[Any, list[Box]] = {key: [] for key in images}
    seen = set()
    for index, annotation in enumerate(content["annotations"]):
        where = f"{file}: annotations[{index}]"
        key, image_id, category_id, bbox = _entry(annotation, ("id", "image_id", "category_id", "bbox"), where)
        if key in seen:
            raise DataError(
                f"{where}: the id {short(key)} is taken by an earlier one.", hint="Annotation ids must differ."
            )
        seen.add(key)
        if image_id not in boxes:
            raise DataError(f"{where}: no image has the id {short(image_id)}.", hint="Remove it, or add the image.")
        if category_id not in categories:
            raise _unknown_category(where, category_id)
        x, y, width, height = _four_numbers(bbox, where)
        boxes[image_id].append(
            Box(
                xyxy=(x, y, x + width, y + height),
                label=categories[category_id],
                difficult=bool(annotation.get("ignore", 0)),
                crowd=bool(annotation.get("iscrowd", 0)),
                where=f"{file.name}: annotations[{index}]",
            )
        )
    return boxes


def _entry(entry: Any, keys: tuple[str, ...], where: str) -> list[Any]:
    """Return the values of an entry's keys; ids must be numbers or texts."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object, got {short(entry)}.")
    for key in keys:
        if key not in entry:
            raise DataError(f'{where}: "{key}" is missing.', hint=f"It needs {', '.join(keys)}.")
        if (key == "id" or key.endswith("_id")) and type(entry[key]) not in (int, str):
            raise DataError(f'{where}: "{key}" must be a whole number or a text, got {short(entry[key])}.')
    return [entry[key] for key in keys]


def _four_numbers(bbox: Any, where: str) -> tuple[float, float, float, float]:
    numbers = isinstance(bbox, list) and len(bbox) == 4
    if not numbers or not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in bbox):
        raise DataError(f'{where}: "bbox" must be [x, y, width, height], got {short(bbox)}.')
    x, y, width, height = (float(number) if abs(number) < 1e300 else math.inf for number in bbox)
    return x, y, width, height
