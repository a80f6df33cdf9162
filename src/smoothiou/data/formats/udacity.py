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

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smoothiou.data.faults import refuse_missing_images
from smoothiou.data.formats.base import Entry, Format, Options, Problems
from smoothiou.data.formats.udacity_table import CLASSES, ENDINGS, Frames, is_label_file, read_labels
from smoothiou.data.image_finder import ImageFinder
from smoothiou.data.listing import files_in, folders_in
from smoothiou.data.splits import CUT_SHARES, USUAL, in_usual_order, photo, usual_name
from smoothiou.errors import DataError
from smoothiou.files import refuse_links_out

BLOCKS = (25, 5, 1)
"""Seconds in a block of the cut: the longest that gives ten blocks. 25 seconds are about 50 frames."""
_NO_NAME = ("labels", "")


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
        self._root, self._is_cut = root, "" in files
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
        finder = self._finder("")
        files = {frame: functools.partial(finder.by_path, frame, where=frame) for frame in frames}
        cut = self.cut_by_seed(files, group_of=block_of)
        return {part: {name: frames[name] for name in names} for part, names in cut.items()}

    def _finder(self, split: str) -> ImageFinder:
        """Return the finder of a split's frames: those of another split may be called the same."""
        images = self._root / "images"
        folders = [folder for folder in folders_in(self._root) if folder != images]
        part = usual_name(split.rpartition("-")[2])
        of_split = [folder for folder in folders if not self._is_cut and usual_name(folder.name) == part]
        others = [folder for folder in folders if folder not in of_split]
        if of_split:
            others = [folder for folder in others if usual_name(folder.name) not in USUAL]
        return ImageFinder(self._root, [*of_split, images, self._root, *others], peers=others)

    def entries(self, split: str) -> list[Entry]:
        finder = self._finder(split)
        return [
            Entry(
                name=frame,
                split=split,
                where=boxes[0].where,
                locate=functools.partial(finder.by_path, frame, where=boxes[0].where),
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
    if len(files) > 1 and "" in files:
        notes += (f"{files[''].name}, which names no split, was left out",)
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
    parts = [part for part in re.split(r"[_.\-\s]+", re.sub(r"(\.[ct]sv)?(\.gz)?$", "", file.name)) if part]
    splits = [part for part in parts if usual_name(part) in USUAL]
    if len(splits) != 1:
        return "_".join(parts), ""
    return "_".join(part for part in parts if part != splits[0]), splits[0]


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
