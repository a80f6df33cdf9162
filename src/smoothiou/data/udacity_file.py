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
import io
import itertools
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import check_word, open_regular, short

MAX_LINES = 1_000_000
"""Of a file, ten times the largest that was published."""
MAX_LINE = 4096
"""Signs of a line."""
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
        _, first = next(_rows(file), (0, ""))
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
    # Every split of a file cut in two asks for all of it. Of each row only what is needed is kept: numbers in an
    # array, each label and frame once.
    _refuse_too_many(file)
    rows = _rows(file)
    number, line = next(rows, (0, ""))
    if not line:
        raise DataError(f"{file}: the label file is empty.", hint=f"Expected rows of {_EXPECTED}.")
    delimiter = _delimiter(line)
    columns = _columns(_fields(line, delimiter, file, number), delimiter, file)
    if not columns.header:
        rows = itertools.chain([(number, line)], rows)
    needed = 1 + max(columns.frame, columns.label, *columns.corners)
    corners, lines = array("d"), array("q")
    frames: list[str] = []
    labels: list[str] = []
    known: dict[str, str] = {}
    seen: set[int] = set()
    for number, line in rows:
        fields = _fields(line, delimiter, file, number)
        if len(fields) < needed or not fields[columns.frame] or not fields[columns.label]:
            raise DataError(
                f"{file}, line {number}: expected at least {needed} fields with a frame and a label, "
                f"got {short(fields)}.",
                hint=f"A row is one of {_EXPECTED}.",
            )
        where = f"{file}, line {number}"
        corners.extend(_four_numbers([fields[place] for place in columns.corners], where))
        label = fields[columns.label]
        if label not in known:
            check_word(label, what="class", where=where)
        labels.append(known.setdefault(label, _SPELT.get(label.casefold(), label)))
        frames.append(known.setdefault(fields[columns.frame], fields[columns.frame]))
        lines.append(number)
        seen.add(hash(line))
    names, notes = _order([corners[place::4] for place in range(4)], columns, file)
    places = [names.index(corner) for corner in _CORNERS]
    boxes: dict[str, list[Box]] = {}
    for row, (frame, label, number) in enumerate(zip(frames, labels, lines, strict=True)):
        x1, y1, x2, y2 = (corners[4 * row + place] for place in places)
        box = Box(xyxy=(x1, y1, x2, y2), label=label, where=f"{file.name}, line {number}")
        boxes.setdefault(frame, []).append(box)
    if columns.layout == "ids":
        notes.append(f"{file.name}: class ids serve as names, for the layout tells none")
    if twice := len(frames) - len(seen):
        stand = "1 row stands" if twice == 1 else f"{twice} rows stand"
        notes.append(f"{file.name}: {stand} in it twice, word for word, and each was kept")
    return Labels(columns.layout, {frame: tuple(found) for frame, found in boxes.items()}, tuple(notes))


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    """Return number and text of every line that is not blank, unpacked where the content says that it is gzipped.

    Raises:
        DataError: the file cannot be read, has too many lines or too long ones, or is no UTF-8.
    """
    try:
        with open_regular(file) as content:
            packed = content.read(2) == b"\x1f\x8b"
            content.seek(0)
            # The two have no type in common that says it.
            unpacked: Any = gzip.GzipFile(fileobj=content) if packed else content
            text = io.TextIOWrapper(unpacked, encoding="utf-8-sig")
            for number in range(1, MAX_LINES + 1):
                line = text.readline(MAX_LINE + 1)
                if not line:
                    return
                if len(line) > MAX_LINE:
                    raise DataError(f"{file}, line {number}: it has more than {MAX_LINE:,} signs, as no row has.")
                if row := line.strip():
                    yield number, row
            if not text.read(1):
                return
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{file}: the label file cannot be read: {reason}.", hint="Fetch it again.") from None
    raise _too_many(file)


def _refuse_too_many(file: Path) -> None:
    """Raise where a file has too many lines, which is known long before they are read as rows.

    Raises:
        DataError: it has, or it cannot be read.
    """
    count = 0
    try:
        with open_regular(file) as content:
            if content.read(2) == b"\x1f\x8b":
                return
            while count <= MAX_LINES and (part := content.read(2**20)):
                lines = part.count(b"\n")
                if not lines and len(part) == 2**20:
                    return  # a line longer than any row: reading stops there, and says so
                count += lines
    except OSError as error:
        raise DataError(f"{file}: the label file cannot be read: {error.strerror}.", hint="Fetch it again.") from None
    if count > MAX_LINES:
        raise _too_many(file)


def _too_many(file: Path) -> DataError:
    return DataError(
        f"{file}: it has more than {MAX_LINES:,} lines, and every box is kept in memory.", hint="Cut it into several."
    )


def _delimiter(line: str) -> str:
    return "," if "," in line.split('"')[0] else " "


def _fields(line: str, delimiter: str, file: Path, number: int) -> list[str]:
    if '"' not in line:  # as nearly all are, and then this is the same and faster
        return [field.strip() for field in line.split(delimiter) if field or delimiter == ","]
    # One line at a time: a quote that is never closed must not swallow the rows after it.
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise DataError(
            f"{file}, line {number}: not a row of fields: {error}: {short(line)}.", hint="Repair it."
        ) from None
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
    raise DataError(
        f"{file}: the first row is in no known layout: {short(list(first))}.", hint=f"Expected {_EXPECTED}."
    )


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
        raise DataError(
            f"{where}: expected four numbers, got {short(', '.join(texts))}.", hint="Repair the row."
        ) from None
    return a, b, c, d


def _order(numbers: Sequence[array[float]], columns: _Columns, file: Path) -> tuple[tuple[str, ...], list[str]]:
    """Return what the four numbers are, and a note where that is not what the header says.

    Of the header's order and the two usual ones, that with the fewest impossible rows (right of left, below above)
    is taken; the header wins a tie.
    """

    def impossible(order: tuple[str, ...]) -> int:
        x1, y1, x2, y2 = (numbers[order.index(corner)] for corner in _CORNERS)
        return sum(left > right or top > bottom for left, top, right, bottom in zip(x1, y1, x2, y2, strict=True))

    counts = {order: impossible(order) for order in dict.fromkeys((columns.names, *_ORDERS))}
    best = min(counts, key=counts.__getitem__)
    if best == columns.names:
        return best, []
    told = "header" if columns.header else "layout"
    return best, [
        f"{file.name}: the numbers stand in the order {','.join(best)}, not in the {told}'s {','.join(columns.names)}, "
        f"by which {counts[columns.names]} of {len(numbers[0])} boxes would be impossible"
    ]
