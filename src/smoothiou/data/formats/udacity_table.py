"""One table of Udacity's labels: its delimiter, columns and rows. No torch."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smoothiou.data.listing import cached_by_file
from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import check_word, open_regular, read_number, reason_of, short
from smoothiou.words import counted

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
MAX_LINES = 1_000_000
"""Of a file, ten times the largest that was published."""
MAX_LINE = 4096
"""Characters of a line."""
CLASSES = ("car", "truck", "pedestrian", "trafficLight", "biker")
"""Their usual order; the crowdai file has the first three, with capitals."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ORDERS = (_CORNERS, ("xmin", "xmax", "ymin", "ymax"))
_SPELT = {name.casefold(): name for name in CLASSES}
_EXPECTED = (
    "xmin,ymin,xmax,ymax,Frame,Label (crowdai), frame xmin ymin xmax ymax occluded label (autti) "
    "or frame,xmin,xmax,ymin,ymax,class_id"
)
Frames = dict[str, tuple[Box, ...]]


@dataclass(frozen=True, slots=True)
class Labels:
    """One label file: boxes by frame, in the order of the file, not yet compared with images.

    Args:
        layout: "crowdai" | "autti" | "ids".
        boxes: of each frame, as written; a frame without boxes is in no row, so none is empty.
        notes: what was decided while reading, one sentence each.
        reordered: the first note, if the numbers stand in another order than the header has; else "".
    """

    layout: str
    boxes: Frames
    notes: tuple[str, ...]
    reordered: str = ""


class _Columns(NamedTuple):
    """Layout of a file, indices of frame, label and the four numbers in a row, and names of these four.

    `width` is the number of fields in a row: of the header, or as many as a row without one needs.
    """

    layout: str
    frame: int
    label: int
    corners: tuple[int, ...]
    names: tuple[str, ...]
    width: int
    has_header: bool = False


@cached_by_file(8)  # every split of a file cut in two asks for all of it
def read_labels(file: Path) -> Labels:
    """Return the boxes of one label file, possibly gzipped.

    Raises:
        DataError: the file cannot be read, or a row lacks a field or a number; with file and line.
    """
    rows = _rows(file)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{file}: the label file is empty.", hint=f"Expected rows of {_EXPECTED}.")
    delimiter = _delimiter(first[1])
    columns = _columns(_fields(first[1], delimiter, f"{file}, line {first[0]}"), delimiter, file)
    if not columns.has_header:
        rows = itertools.chain([first], rows)
    numbers, frames, repeated = _read_rows(rows, columns, delimiter, file)
    names, reordered = _order([numbers[index::4] for index in range(4)], columns, file)
    order = [names.index(corner) for corner in _CORNERS]
    boxes: dict[str, list[Box]] = {}
    for row, (frame, label, number) in enumerate(frames):
        x1, y1, x2, y2 = (numbers[4 * row + index] for index in order)
        box = Box(xyxy=(x1, y1, x2, y2), label=label, where=f"{file.name}, line {number}")
        boxes.setdefault(frame, []).append(box)
    notes = [reordered] if reordered else []
    if columns.layout == "ids":
        notes.append(f"{file.name}: class ids serve as names, for the layout tells none")
    if repeated:
        rows_stand = counted(repeated, "row stands", "rows stand")
        notes.append(f"{file.name}: {rows_stand} in it twice, word for word, and each was kept")
    return Labels(columns.layout, {frame: tuple(items) for frame, items in boxes.items()}, tuple(notes), reordered)


def _read_rows(
    rows: Iterable[tuple[int, str]], columns: _Columns, delimiter: str, file: Path
) -> tuple[array[float], list[tuple[str, str, int]], int]:
    """Return the numbers of all rows, frame, label and line of each, and how many rows repeat another."""
    # Of each row only what is needed stays in memory: numbers in an array, each label and frame once.
    numbers = array("d")
    frames: list[tuple[str, str, int]] = []
    known: dict[str, str] = {}
    distinct: set[int] = set()
    for number, line in rows:
        where = f"{file}, line {number}"
        fields = _fields(line, delimiter, where)
        try:
            frame, label = fields[columns.frame], fields[columns.label]
            numbers.extend([_number(fields[index], delimiter) for index in columns.corners])
        except (IndexError, ValueError):
            frame = label = ""
        if not frame or not label:
            message = f"{where}: expected a frame, a label and four numbers, got {short(fields)}."
            raise DataError(message, hint=f"A row is one of {_EXPECTED}.")
        # Of a row with a field too many, what stands at the class may be the flag before it: "0" for all cars.
        if len(fields) > columns.width and _is_number(label, delimiter):
            message = f"{where}: the class would be {short(label)}, and a field follows it: {short(fields)}."
            raise DataError(message, hint=f"A row is one of {_EXPECTED}.")
        if label not in known:
            word = check_word(label, what="class", where=where)
            known[label] = _SPELT.get(word.casefold(), word)
        frames.append((known.setdefault(frame, frame), known[label], number))
        distinct.add(hash(line))
    return numbers, frames, len(frames) - len(distinct)


def is_label_file(file: Path) -> bool:
    """Return whether the first row of a file is in one of the layouts read here."""
    try:
        _, first = next(_rows(file), (0, ""))
        _columns(_fields(first, _delimiter(first), f"{file}, line 1"), _delimiter(first), file)
    except DataError:
        return False
    return True


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    """Return number and text of every line that is not blank, unpacked where the content says that it is gzipped.

    Raises:
        DataError: the file cannot be read, has too many lines or too long ones, or is no UTF-8.
    """
    try:
        with open_regular(file) as content:
            packed = content.read(2) == b"\x1f\x8b"
            content.seek(0)
            # Any, for TextIOWrapper takes both and the two have no type in common.
            unpacked: Any = gzip.GzipFile(fileobj=content) if packed else content
            text = io.TextIOWrapper(unpacked, encoding="utf-8-sig")
            for number in range(1, MAX_LINES + 2):
                line = text.readline(MAX_LINE + 1)
                if not line:
                    return
                if len(line) > MAX_LINE:
                    raise DataError(f"{file}, line {number}: it has more than {MAX_LINE:,} characters, as no row has.")
                if number > MAX_LINES:
                    raise DataError(
                        f"{file}: it has more than {MAX_LINES:,} lines, and every box is kept in memory.",
                        hint="Cut it into several.",
                    )
                if line.strip():
                    yield number, line.strip(" \r\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        text = f"{file}: the label file cannot be read: {reason_of(error)}."
        raise DataError(text, hint="Fetch it again.") from None


def _delimiter(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)  # what is quoted may hold any of them
    return next((delimiter for delimiter in ";\t," if delimiter in bare), " ")


def _fields(line: str, delimiter: str, where: str) -> list[str]:
    if '"' not in line:  # as nearly all are, and then this is the same and faster
        return [field.strip() for field in line.split(delimiter) if field or delimiter != " "]
    # One line at a time: a quote that is never closed must not swallow the rows after it.
    try:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise DataError(f"{where}: not a row of fields: {error}: {short(line)}.", hint="Repair it.") from None
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
        corners = tuple(sorted(names.index(corner) for corner in _CORNERS))
        layout = "ids" if label == "class_id" else "autti" if delimiter == " " else "crowdai"
        order = tuple(names[index] for index in corners)
        return _Columns(layout, names.index("frame"), names.index(label), corners, order, len(first), has_header=True)
    kinds = "".join("n" if _is_number(field, delimiter) else "t" for field in first)
    kinds = (" " if delimiter == " " else ",") + kinds
    if kinds.startswith(",nnnnt") and len(first) >= 6:
        return _Columns("crowdai", 4, 5, (0, 1, 2, 3), _CORNERS, 6)
    # A spreadsheet saves autti's rows with tabs, semicolons or commas: a flag, 0 or 1, stands before the label.
    if kinds.startswith((" tnnnnnt", ",tnnnnnt")) and first[5] in ("0", "1"):
        return _Columns("autti", 0, 6, (1, 2, 3, 4), _CORNERS, 7)
    if kinds == ",tnnnnn" or kinds.startswith(",tnnnnt"):
        return _Columns("ids", 0, 5, (1, 2, 3, 4), _ORDERS[1], 6)
    raise DataError(
        f"{file}: the first row is in no known layout: {short(list(first))}.", hint=f"Expected {_EXPECTED}."
    )


def _number(text: str, delimiter: str) -> float:
    """Return a number; where columns are parted by something else, it may have a comma as its point."""
    number = read_number(text if delimiter == "," else text.replace(",", "."))
    if number is None:
        raise ValueError(text)
    return number


def _is_number(text: str, delimiter: str) -> bool:
    return read_number(text if delimiter == "," else text.replace(",", ".")) is not None


def _order(numbers: Sequence[array[float]], columns: _Columns, file: Path) -> tuple[tuple[str, ...], str]:
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
        return best, ""
    return best, (
        f"{file.name}: the numbers stand in the order {','.join(best)}, not in the "
        f"{'header' if columns.has_header else 'layout'}'s {','.join(columns.names)}, by which {counts[columns.names]} "
        f"of {len(numbers[0])} boxes would be impossible"
    )
