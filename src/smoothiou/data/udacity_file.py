"""The content of one Udacity label file, checked row by row; no image is looked for. No torch.

    xmin,ymin,xmax,ymax,Frame,Label,Preview URL                         "crowdai": commas and a header
    frame xmin ymin xmax ymax occluded "label" ["attribute"]            "autti": spaces, and no header
    frame,xmin,xmax,ymin,ymax,class_id                                  "ids": the widely copied small version

The published crowdai file has the header `xmin,xmax,ymin,ymax,...` over numbers in the order of the first line
above, so the order is taken from the numbers where the header's reading is the less possible one. A file without
a header begins with a box. Corners are 0-based with an open end.
Reference: https://github.com/udacity/self-driving-car/tree/master/annotations
"""

from __future__ import annotations

import csv
import functools
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothiou.data.records import Box
from smoothiou.errors import DataError

CLASSES = ("car", "truck", "pedestrian", "trafficLight", "biker")
"""Their usual order; the crowdai file has the first three, with capitals."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ORDERS = (_CORNERS, ("xmin", "xmax", "ymin", "ymax"))
_SPELT = {name.casefold(): name for name in CLASSES}
_EXPECTED = (
    "xmin,ymin,xmax,ymax,Frame,Label (crowdai), frame xmin ymin xmax ymax occluded label (autti) "
    "or frame,xmin,xmax,ymin,ymax,class_id"
)


@dataclass(frozen=True, slots=True)
class Labels:
    """One label file: boxes by frame, in the order of the file, not yet compared with images.

    Args:
        layout: "crowdai" | "autti" | "ids".
        boxes: of each frame, as written; a frame without boxes is in no row, so none is empty.
        notes: what was decided while reading, one sentence each.
    """

    layout: str
    boxes: dict[str, tuple[Box, ...]]
    notes: tuple[str, ...]


def read_labels(file: Path) -> Labels:
    """Return the boxes of one label file, possibly gzipped; asked again, it is not parsed again unless it changed.

    Raises:
        DataError: the file cannot be read, or a row lacks a field or a number; with file and line.
    """
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}.") from None
    return _read_labels(file.absolute(), stat.st_mtime_ns, stat.st_size)


def is_label_file(file: Path) -> bool:
    """Return whether the first row of a file is in one of the layouts read here."""
    try:
        first = next((line for line in _text(file).splitlines() if line.strip()), "")
        _columns(_fields(first, _delimiter(first), file, 1), _delimiter(first), file)
    except DataError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row everything stands.

    Args:
        layout: as in `Labels`.
        frame, label: places of the frame's name and of the class.
        corners: places of the four numbers, in the order in which they stand.
        names: what the header, or else the layout, calls these four numbers.
        header: whether the first row is one.
    """

    layout: str
    frame: int
    label: int
    corners: tuple[int, ...]
    names: tuple[str, ...]
    header: bool


@functools.lru_cache(maxsize=8)
def _read_labels(file: Path, _modified: int, _size: int) -> Labels:
    # Every split of a file cut in two asks for all of it.
    lines = [(number, line.strip()) for number, line in enumerate(_text(file).splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise DataError(f"{file}: the label file is empty.", hint=f"Expected rows of {_EXPECTED}.")
    delimiter = _delimiter(lines[0][1])
    columns = _columns(_fields(lines[0][1], delimiter, file, lines[0][0]), delimiter, file)
    rows = [
        (number, _fields(line, delimiter, file, number), line)
        for number, line in (lines[1:] if columns.header else lines)
    ]
    needed = 1 + max(columns.frame, columns.label, *columns.corners)
    numbers = []
    for number, fields, _ in rows:
        if len(fields) < needed or not fields[columns.frame] or not fields[columns.label]:
            raise DataError(
                f"{file}, line {number}: expected at least {needed} fields with a frame and a label, got {fields!r}.",
                hint=f"A row is one of {_EXPECTED}.",
            )
        numbers.append(_four_numbers([fields[place] for place in columns.corners], f"{file}, line {number}"))
    names, notes = _order(numbers, columns, file)
    boxes: dict[str, list[Box]] = {}
    for (number, fields, _), values in zip(rows, numbers, strict=True):
        corner = dict(zip(names, values, strict=True))
        box = Box(
            xyxy=(corner["xmin"], corner["ymin"], corner["xmax"], corner["ymax"]),
            label=_SPELT.get(fields[columns.label].casefold(), fields[columns.label]),
            where=f"{file.name}, line {number}",
        )
        boxes.setdefault(fields[columns.frame], []).append(box)
    if columns.layout == "ids":
        notes.append(f"{file.name}: class ids serve as names, for the layout tells none")
    if twice := len(rows) - len({line for _, _, line in rows}):
        stand = "1 row stands" if twice == 1 else f"{twice} rows stand"
        notes.append(f"{file.name}: {stand} in it twice, word for word, and each was kept")
    return Labels(columns.layout, {frame: tuple(found) for frame, found in boxes.items()}, tuple(notes))


def _text(file: Path) -> str:
    """Return the content of a file, unpacked if its content, and not its name, says that it is gzipped."""
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the label file cannot be read: {error}.", hint="Fetch it again.") from None


def _delimiter(line: str) -> str:
    return "," if "," in line.split('"')[0] else " "


def _fields(line: str, delimiter: str, file: Path, number: int) -> list[str]:
    # One line at a time: a quote that is never closed must not swallow the rows after it.
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise DataError(f"{file}, line {number}: not a row of fields: {error}: {line!r}.", hint="Repair it.") from None
    return [field.strip() for field in row]


def _columns(first: Sequence[str], delimiter: str, file: Path) -> _Columns:
    """Return where everything stands, from the header if there is one, else from where the numbers are.

    Raises:
        DataError: neither a header with every needed name nor a row of a known layout.
    """
    names = [field.casefold() for field in first]
    if any(corner in names for corner in _CORNERS):
        label = next((name for name in ("label", "class_id", "class") if name in names), "")
        missing = [name for name in (*_CORNERS, "frame") if names.count(name) != 1] + ["label"] * (not label)
        if missing:
            raise DataError(f"{file}: the header lacks {', '.join(missing)}.", hint=f"Expected {_EXPECTED}.")
        places = sorted(names.index(corner) for corner in _CORNERS)
        layout = "ids" if label == "class_id" else "crowdai" if delimiter == "," else "autti"
        order = tuple(names[place] for place in places)
        return _Columns(layout, names.index("frame"), names.index(label), tuple(places), order, header=True)
    numeric = [_is_number(field) for field in first]
    if delimiter == "," and len(first) >= 6 and numeric[:5] == [True] * 4 + [False]:
        return _Columns("crowdai", 4, 5, (0, 1, 2, 3), _CORNERS, header=False)
    if len(first) >= 6 and numeric[:5] == [False] + [True] * 4:
        if delimiter == ",":
            return _Columns("ids", 0, 5, (1, 2, 3, 4), _ORDERS[1], header=False)
        if len(first) >= 7:
            return _Columns("autti", 0, 6, (1, 2, 3, 4), _CORNERS, header=False)
    raise DataError(f"{file}: the first row is in no known layout: {list(first)!r}.", hint=f"Expected {_EXPECTED}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _four_numbers(texts: Sequence[str], where: str) -> tuple[float, float, float, float]:
    try:
        a, b, c, d = map(float, texts)
    except ValueError:
        raise DataError(f"{where}: expected four numbers, got {', '.join(texts)}.", hint="Repair the row.") from None
    return a, b, c, d


def _order(numbers: Sequence[tuple[float, ...]], columns: _Columns, file: Path) -> tuple[tuple[str, ...], list[str]]:
    """Return what the four numbers are, and a note where that is not what the header says.

    Of the header's order and the two usual ones, that with the fewest impossible rows (right of left, below above)
    is taken; the header wins a tie.
    """

    def impossible(order: tuple[str, ...]) -> int:
        x1, y1, x2, y2 = (order.index(corner) for corner in _CORNERS)
        return sum(row[x1] > row[x2] or row[y1] > row[y2] for row in numbers)

    counts = {order: impossible(order) for order in dict.fromkeys((columns.names, *_ORDERS))}
    best = min(counts, key=counts.__getitem__)
    if best == columns.names:
        return best, []
    told = "header" if columns.header else "layout"
    return best, [
        f"{file.name}: the numbers stand in the order {','.join(best)}, not in the {told}'s {','.join(columns.names)}, "
        f"by which {counts[columns.names]} of {len(numbers)} boxes would be impossible"
    ]
