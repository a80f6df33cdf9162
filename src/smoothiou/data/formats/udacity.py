"""Udacity's driving data: a label file of all frames, and the frames in a folder beside it. No torch.

    labels.csv, labels_crowdai.csv.gz, ...          one file: cut by a seed, in blocks of time
    labels_train.csv, labels_val.csv, ...           one file per split, named by a word
    *.jpg beside them, in images/ or in another folder of theirs

DATA is the folder, or a label file where the folder has several sets; files whose names differ only in the word for
the split are one set. Layouts of the rows:

    xmin,ymin,xmax,ymax,Frame,Label,Preview URL                         "crowdai": commas and a header
    frame xmin ymin xmax ymax occluded "label" ["attribute"]            "autti": spaces, and no header
    frame,xmin,xmax,ymin,ymax,class_id                                  "ids": the widely copied small version

The published crowdai file has the header `xmin,xmax,ymin,ymax,...` over numbers in the order of the first line
above, so the order is taken from the numbers where the header's reading is the less possible one. A file without
a header begins with a box. Semicolons and tabs serve as commas do. Corners are 0-based with an open end.
Reference: https://github.com/udacity/self-driving-car/tree/master/annotations
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import csv
import functools
import gzip
import io
import itertools
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from smoothiou.data.faults import refuse_missing_images
from smoothiou.data.formats.base import Entry, Format, Options, Problems
from smoothiou.data.images import ImageFinder
from smoothiou.data.listing import cached_by_file, files_in, folders_in
from smoothiou.data.records import Box
from smoothiou.data.splits import CUT_SHARES, USUAL, in_usual_order, photo, usual_name
from smoothiou.errors import DataError
from smoothiou.files import check_word, open_regular, reason_of, refuse_links_out, short
from smoothiou.words import counted

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
BLOCKS = (25, 5, 1)
"""Seconds in a block of the cut: the longest that gives ten blocks. 25 seconds are about 50 frames."""
MAX_LINES = 1_000_000
"""Of a file, ten times the largest that was published."""
MAX_LINE = 4096
"""Characters of a line."""
CLASSES = ("car", "truck", "pedestrian", "trafficLight", "biker")
"""Their usual order; the crowdai file has the first three, with capitals."""

_NO_NAME = ("labels", "")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ORDERS = (_CORNERS, ("xmin", "xmax", "ymin", "ymax"))
_SPELT = {name.casefold(): name for name in CLASSES}
_EXPECTED = (
    "xmin,ymin,xmax,ymax,Frame,Label (crowdai), frame xmin ymin xmax ymax occluded label (autti) "
    "or frame,xmin,xmax,ymin,ymax,class_id"
)
Frames = dict[str, tuple[Box, ...]]


class Udacity(Format):
    """The label files that a folder, or one of them, stands for."""

    format = "udacity"
    layout = "*.csv, *.tsv, *.csv.gz and *.tsv.gz with the columns of Udacity's labels"
    usual_size = (1920, 1200)

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self.sets = self._find_sets()
        self.notes = list(self.sets[0].notes)
        if len(self.sets) == 1:
            self.name = self.sets[0].name
        root, files = self.sets[0].root, self.sets[0].files
        self.splits = tuple(CUT_SHARES[self.options.cut]) if "" in files else in_usual_order(files)
        self._finder = ImageFinder(root, [root / "images", root, *folders_in(root)])
        self.images_in = f"{root}, its images/ and its other folders"

    def _find_sets(self) -> list[LabelSet]:
        """Return the set that the path stands for; for the doctor all sets, where it does not say which."""
        try:
            return [find_set(self.path)]
        except DataError:
            files = [] if self.path.is_file() or not self.problems.lenient else _candidates(self.path)
            sets = (find_set(file) for file in files if is_label_file(file))
            by_name = {label_set.name: label_set for label_set in sets}
            if not by_name:
                raise
            return list(by_name.values())

    @classmethod
    def fits(cls, path: Path) -> bool:
        """Return whether a folder or file has labels in one of the layouts read here.

        Raises:
            DataError: a file is named like labels, and holds something else.
        """
        if path.is_file():
            return path.name.lower().endswith(ENDINGS) and bool(read_labels(path))
        return any(is_label_file(file) for file in _candidates(path))

    def files_splits(self) -> tuple[str, ...]:
        return tuple(self._frames)

    def has_boxes(self, split: str) -> bool:
        return True

    @functools.cached_property
    def _frames(self) -> dict[str, Frames]:
        """The boxes of each frame, by split."""
        splits: dict[str, Frames] = {}
        for label_set in self.sets:
            for part, file in label_set.files.items():
                try:
                    labels = read_labels(file)
                except DataError as error:
                    self.problems.report("unreadable-annotation", error, where=file.name)
                    continue
                if labels.reordered and self.problems.lenient:
                    self.problems.report("column-order", DataError(labels.reordered), where=file.name)
                    self.notes += labels.notes[1:]
                else:
                    self.notes += labels.notes
                splits[part if len(self.sets) == 1 else f"{label_set.name}-{part}".rstrip("-")] = labels.boxes
        if "" not in splits:
            return splits
        frames = splits[""]
        block_of, how = group_by_time(frames)
        self.notes.append(f"split {self.options.cut} by seed {self.options.split_seed} {how}: none is shipped")
        files = {frame: functools.partial(self._finder.by_path, frame, where=frame) for frame in frames}
        cut = self.cut_by_seed(files, together=block_of)
        return {part: {name: frames[name] for name in names} for part, names in cut.items()}

    def entries(self, split: str) -> list[Entry]:
        return [
            Entry(
                name=frame,
                split=split,
                where=boxes[0].where,
                locate=functools.partial(self._finder.by_path, frame, where=boxes[0].where),
                boxes=boxes,
            )
            for frame, boxes in self._frames[split].items()
        ]

    def refuse_incomplete(self) -> None:
        missing = [e.name for part in self._frames for e in self.entries(part) if e.locate() is None]
        refuse_missing_images(missing, data=self.name, looked_in=self.images_in)

    def labels(self, split: str) -> dict[str, set[str]]:
        return {
            part: {box.label for boxes in frames.values() for box in boxes} for part, frames in self._frames.items()
        }

    def classes(self) -> tuple[str, ...]:
        return class_order(set().union(*self.labels("").values()))


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return class names in a fixed order: Udacity's own where all are Udacity's, ids by number, else by name."""
    labels = set(labels)
    if labels <= set(CLASSES):
        return tuple(name for name in CLASSES if name in labels)
    return tuple(sorted(labels, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


# ---- which file is which split


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The label files that belong together.

    Args:
        name: short name for tables.
        root: the folder that holds them.
        files: by split; one file called "" holds all frames.
        notes: what was decided in choosing them.
    """

    name: str
    root: Path
    files: Mapping[str, Path]
    notes: tuple[str, ...]


def find_set(path: Path) -> LabelSet:
    """Return the label files that a folder, or one of them, stands for.

    Raises:
        DataError: there is none, two hold one split, or a folder has several sets and none is called `labels`.
    """
    named = path if path.is_file() else None
    root = path.absolute().parent if named else path
    sets = _sets_in(root, named)
    if not sets:
        looked_for = ", ".join(f"*{ending}" for ending in ENDINGS)
        raise DataError(f"{path}: no label file found; looked for {looked_for} in Udacity's layouts.")
    usual = [name for name in sets if name.lower() in _NO_NAME]
    notes: tuple[str, ...] = ()
    if named:
        chosen, split = set_and_split(named)
        files = sets[chosen] if split else {"": named}
    elif len(sets) > 1:
        if len(usual) != 1:
            names = sorted(sets)
            raise DataError(
                f"{path}: there are {len(sets)} sets of labels: {', '.join(names)}.",
                hint=f"Pass a file of one of them, as {path / next(iter(sets[names[0]].values())).name}.",
            )
        chosen, files = usual[0], sets[usual[0]]
        notes = (f"of {len(sets)} sets of labels in the folder, that called {chosen} was read",)
    else:
        chosen, files = next(iter(sets.items()))
    if len(files) > 1:
        files = {split: file for split, file in files.items() if split}
    is_only = chosen.lower() in _NO_NAME or (len(sets) == 1 and not named)
    return LabelSet(root.resolve().name if is_only else chosen, root, files, notes)


def _sets_in(root: Path, named: Path | None) -> dict[str, dict[str, Path]]:
    """Return the label files of a folder by set and split; a file that was named counts whatever it holds."""
    sets: dict[str, dict[str, Path]] = {}
    for file in [named] if named and not named.name.lower().endswith(ENDINGS) else _candidates(root):
        if not (named and file.name == named.name) and not is_label_file(file):
            continue
        name, split = set_and_split(file)
        if other := sets.setdefault(name, {}).get(split):
            raise DataError(f"{other} and {file.name} hold the same labels or the same split.", hint="Remove one.")
        sets[name][split] = refuse_links_out(file, root=root, where=root.resolve().name)
    return sets


def set_and_split(file: Path) -> tuple[str, str]:
    """Return the set and the split in a file's name: `as_autti_train.csv` is `train` of `as_autti`."""
    words = [word for word in re.split(r"[_.\-\s]+", re.sub(r"(\.[ct]sv)?(\.gz)?$", "", file.name)) if word]
    splits = [word for word in words if usual_name(word) in USUAL]
    if len(splits) != 1:
        return "_".join(words), ""
    return "_".join(word for word in words if word != splits[0]), splits[0]


def _candidates(root: Path) -> list[Path]:
    return [file for file in files_in(root, *ENDINGS) if file.is_file()]


# ---- the cut


def group_by_time(frames: Iterable[str]) -> tuple[Callable[[str], str], str]:
    """Return the block of time of a frame, for `seeded_cut`, and a description of the blocks.

    Frames that follow each other are nearly the same picture, so a cut by frame would leak the test into training.
    A block begins and ends at a full second: no second has frames on both sides.

    Args:
        frames: names that begin with seconds since 1970, as `1478019952686311006.jpg`; where they do not, the cut
            is by frame.
    """
    seconds = {frame: second(frame) for frame in frames}
    if any(at is None for at in seconds.values()):
        return photo, "frame by frame, since the names hold no time"
    length = next((length for length in BLOCKS if len({at // length for at in seconds.values() if at}) >= 10), 1)
    how = f"in blocks of {length} s of the drive" if length > 1 else "in seconds of the drive"
    return lambda frame: str((seconds[frame] or 0) // length), how


def second(frame: str) -> int | None:
    """Return the second since 1970 in which a frame was taken, or None if its name does not hold it."""
    match = re.fullmatch(r"(\d{10})\d{0,9}", PurePosixPath(frame).stem)
    return int(match[1]) if match else None


# ---- one file


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
    if (kinds.startswith(" tnnnn") and len(first) >= 7) or (kinds.startswith(",tnnnnnt") and first[5] in ("0", "1")):
        return _Columns("autti", 0, 6, (1, 2, 3, 4), _CORNERS, 7)
    if kinds == ",tnnnnn" or kinds.startswith(",tnnnnt"):
        return _Columns("ids", 0, 5, (1, 2, 3, 4), _ORDERS[1], 6)
    raise DataError(
        f"{file}: the first row is in no known layout: {short(list(first))}.", hint=f"Expected {_EXPECTED}."
    )


def _number(text: str, delimiter: str) -> float:
    """Return a number; where columns are parted by something else, it may have a comma as its point."""
    return float(text if delimiter == "," else text.replace(",", "."))


def _is_number(text: str, delimiter: str) -> bool:
    try:
        _number(text, delimiter)
    except ValueError:
        return False
    return True


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
