"""Udacity's driving data: a label file of all frames, and the frames in a folder beside it. No torch.

    labels.csv, labels_crowdai.csv.gz, ...          one file: cut 80/20 by a seed, in blocks of time
    labels_train.csv, labels_val.csv, ...           one file per split, told by a word of its name
    *.jpg beside them, in images/ or in another folder there

DATA is the folder, or a label file where the folder has several sets; files whose names differ only in the word for
the split are one set. See `udacity_file.py` for the layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smoothiou.data.faults import fit_boxes, refuse_dropped, refuse_missing_images
from smoothiou.data.images import ImageFinder, image_size
from smoothiou.data.records import Box, Dataset, ImageFile, Record
from smoothiou.data.splits import USUAL, find_split, in_usual_order, seeded_cut, unlearnt, usual_name
from smoothiou.data.udacity_file import CLASSES, is_label_file, read_labels
from smoothiou.errors import DataError
from smoothiou.files import refuse_links_out

ENDINGS = (".csv", ".csv.gz")
BLOCKS = (25, 5, 1)
"""Seconds in a block of the cut: the longest that gives ten blocks. 25 seconds are about 50 frames."""


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


def read(path: Path, *, split: str, split_seed: int, allow_dropped: int) -> Dataset:
    """Return one split.

    Args:
        path: the data folder, or one of its label files.
        split: name of the split, or how it is usually called.
        split_seed: of the cut, where there is one file for all frames.
        allow_dropped: how many faulty boxes may be left out.

    Raises:
        DataError: what a label file has wrong, or which frames are missing.
    """
    found = find_set(path)
    name = find_split(split, _split_names(found), data=found.name)
    labels = {part: read_labels(file) for part, file in found.files.items()}
    every = {part: content.boxes for part, content in labels.items()}
    notes = [*found.notes, *(note for content in labels.values() for note in content.notes)]
    if "" in every:
        parts, how = cut_by_time(every[""], seed=split_seed)
        notes.append(f"split 80/20 by seed {split_seed} {how}: none is shipped")
        every = {part: {frame: every[""][frame] for frame in frames} for part, frames in parts.items()}
    classes = {part: {box.label for boxes in frames.values() for box in boxes} for part, frames in every.items()}
    finder = ImageFinder(found.root, _image_folders(found.root))
    listed = {frame: boxes[0].where for frames in every.values() for frame, boxes in frames.items()}
    paths = {frame: finder.by_path(frame, where=where) for frame, where in listed.items()}
    refuse_missing_images(
        [frame for frame, place in paths.items() if place is None],
        data=found.name,
        looked_in=f"{found.root}, its images/ and its other folders",
        hint="Put the frames there, or remove their rows.",
    )
    records, faults = [], []
    for frame, boxes in every[name].items():
        record, wrong = _record(frame, boxes, paths[frame])
        records.append(record)
        faults += wrong
    if not records:
        raise DataError(f'{found.name}: the split "{name}" has no frames.', hint="Choose another split.")
    refuse_dropped(faults, allow_dropped=allow_dropped, data=found.name)
    return Dataset(
        name=found.name,
        format="udacity",
        split=name,
        classes=class_order(set().union(*classes.values())),
        records=tuple(records),
        faults=tuple(faults),
        notes=(*notes, *unlearnt(classes, name)),
    )


def split_names(path: Path) -> tuple[str, ...]:
    """Return the names of the splits; a label file without boxes is none."""
    return _split_names(find_set(path))


def is_udacity(path: Path) -> bool:
    """Return whether a folder or file has labels in one of the layouts read here."""
    return any(is_label_file(file) for file in ([path] if path.is_file() else _candidates(path)))


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return class names in a fixed order: Udacity's own where all are Udacity's, ids by number, else by name."""
    labels = set(labels)
    if labels <= set(CLASSES):
        return tuple(name for name in CLASSES if name in labels)
    return tuple(sorted(labels, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


# ---- which file is which split


def find_set(path: Path) -> LabelSet:
    """Return the label files that a folder, or one of them, stands for.

    Raises:
        DataError: there is none, two hold one split, or a folder has several sets and none is called `labels`.
    """
    named = path if path.is_file() else None
    root = path.absolute().parent if named else path
    sets: dict[str, dict[str, Path]] = {}
    notes: tuple[str, ...] = ()
    for file in [named] if named and not named.name.lower().endswith(ENDINGS) else _candidates(root):
        if not (named and file.name == named.name) and not is_label_file(file):
            continue
        name, split = set_and_split(file)
        other = sets.setdefault(name, {}).get(split)
        if other:
            raise DataError(f"{other} and {file.name} hold the same labels or the same split.", hint="Remove one.")
        sets[name][split] = refuse_links_out(file, root=root, where=root.resolve().name)
    if not sets:
        raise DataError(f"{path}: no label file found; looked for *.csv and *.csv.gz in Udacity's layouts.")
    if named:
        chosen, split = set_and_split(named)
        files = sets[chosen]
        if not split:
            files = {"": named}
    else:
        usual = [name for name in sets if name.lower() in ("labels", "")]
        if len(sets) > 1 and len(usual) != 1:
            firsts = [next(iter(files.values())).name for _, files in sorted(sets.items())]
            raise DataError(
                f"{path}: there are {len(sets)} sets of labels: {', '.join(sorted(sets))}.",
                hint=f"Pass a file of one of them, as {path / firsts[0]}.",
            )
        chosen = usual[0] if len(sets) > 1 else next(iter(sets))
        files = sets[chosen]
        if len(sets) > 1:
            notes = (f"of {len(sets)} sets of labels in the folder, that called {chosen} was read",)
    if len(files) > 1:
        files = {split: file for split, file in files.items() if split}
    data = root.resolve().name
    plain = chosen.lower() in ("labels", "") or (len(sets) == 1 and not named)
    return LabelSet(data if plain else chosen, root, files, notes)


def set_and_split(file: Path) -> tuple[str, str]:
    """Return the set and the split that a file's name tells: `as_autti_train.csv` is `train` of `as_autti`."""
    words = [word for word in re.split(r"[_.\-\s]+", re.sub(r"(\.csv)?(\.gz)?$", "", file.name)) if word]
    splits = [word for word in words if usual_name(word) in USUAL]
    if len(splits) != 1:
        return "_".join(words), ""
    return "_".join(word for word in words if word != splits[0]), splits[0]


def _candidates(root: Path) -> list[Path]:
    return sorted(file for file in root.iterdir() if file.name.lower().endswith(ENDINGS) and file.is_file())


def _split_names(found: LabelSet) -> tuple[str, ...]:
    return ("train", "val") if "" in found.files else in_usual_order(found.files)


def _image_folders(root: Path) -> list[Path]:
    return [root / "images", root, *sorted(child for child in root.iterdir() if child.is_dir())]


# ---- the cut


def cut_by_time(frames: Iterable[str], *, seed: int) -> tuple[dict[str, list[str]], str]:
    """Cut frames into `train` and `val` in whole blocks of time, and say how.

    Frames that follow each other are nearly the same picture, so a cut by frame would show the test in training.
    A block begins and ends at a full second: no second has frames on both sides.

    Args:
        frames: names that begin with seconds since 1970, as `1478019952686311006.jpg`; where they do not, the cut
            is by frame and says so.
        seed: another seed, another cut.
    """
    frames = list(frames)
    seconds = {frame: second(frame) for frame in frames}
    if any(at is None for at in seconds.values()):
        return seeded_cut(frames, seed=seed), "frame by frame, since the names tell no time"
    length = next((length for length in BLOCKS if len({at // length for at in seconds.values() if at}) >= 10), 1)
    parts = seeded_cut(frames, seed=seed, together=lambda frame: str((seconds[frame] or 0) // length))
    return parts, f"in blocks of {length} s of the drive" if length > 1 else "in seconds of the drive"


def second(frame: str) -> int | None:
    """Return the second since 1970 in which a frame was taken, or None if its name does not tell."""
    found = re.fullmatch(r"(\d{10})\d{0,9}", PurePosixPath(frame).stem)
    return int(found[1]) if found else None


def _record(frame: str, boxes: tuple[Box, ...], path: Path | None) -> tuple[Record, list]:
    assert path is not None
    width, height = image_size(path)
    kept, wrong = fit_boxes(boxes, width=width, height=height)
    return Record(name=frame, source=ImageFile(path), width=width, height=height, boxes=kept), wrong
