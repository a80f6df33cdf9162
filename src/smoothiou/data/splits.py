"""Names of splits, their list files, and the seeded cut of data that ships none. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from smoothiou.data.faults import first_names
from smoothiou.data.image_finder import SUFFIXES, check_file_name
from smoothiou.errors import DataError, did_you_mean
from smoothiou.files import read_bytes, reason_of

Cut = Literal["80/20", "70/15/15"]
CUT_SHARES: Mapping[Cut, Mapping[str, float]] = {
    "80/20": {"train": 0.8, "val": 0.2},
    "70/15/15": {"train": 0.7, "val": 0.15, "test": 0.15},
}
"""How data that ships no split is cut."""
USUAL = ("train", "val", "trainval", "test")
MAX_LIST = 2**26
"""Bytes of a list of images; that of a million images has 20 MB."""
NOT_IN_TRAIN = 'classes without a box in the split "train": '
_SYNONYMS = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


def usual_name(split: str) -> str:
    """Return the usual name of a split: of `train2017` it is `train`, of `valid` `val`, of `mine` `mine`."""
    word = re.sub(r"[-_ ]?\d{4}$", "", split.lower())
    return _SYNONYMS.get(word, word)


def in_usual_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Return splits as train, val, trainval, test, and then the others by name."""
    ranks = {name: rank for rank, name in enumerate(USUAL)}
    return tuple(sorted(splits, key=lambda split: (ranks.get(usual_name(split), len(ranks)), split)))


def find_split(split: str, known: Sequence[str], *, data: str) -> str:
    """Return the name of the split that is meant, as the data set has it.

    Args:
        split: as requested; `train` also finds `train2017`, `val` also finds `valid`.
        known: names of the splits that there are.
        data: the data set, for messages.

    Raises:
        DataError: no split has this name, or several might be meant.
    """
    if split in known:
        return split
    near = [name for name in known if usual_name(name) == usual_name(split)]
    if len(near) == 1 and usual_name(split) == split:
        return near[0]
    if len(near) > 1:
        raise DataError(f'{data}: "{split}" may be {" or ".join(near)}.', hint="Give the full name.")
    guess = did_you_mean(split, known)
    names = "" if guess.startswith("Known") else f" It has: {', '.join(known)}."
    raise DataError(f'{data}: no split is called "{split}".{names}', hint=guess)


def photo(name: str) -> str:
    """Return the name that copies of one photo share: exporters write photo `12` as `train/12.rf.HASH.jpg`."""
    stem, mark, _ = name.partition(".rf.")
    return PurePosixPath(stem).name if mark else name


def seeded_cut(
    names: Iterable[str],
    *,
    seed: int,
    shares: Mapping[str, float] = CUT_SHARES["80/20"],
    group_of: Callable[[str], str] = photo,
) -> dict[str, list[str]]:
    """Cut names into parts, the same way on every machine.

    Groups are ordered by a hash of seed and group, so that adding an image moves few others. Copies of one photo and
    frames of one stretch of a drive are one group, or the test would leak into training.

    Args:
        names: of the images.
        seed: another seed, another cut.
        shares: the parts and their shares of the groups; each part gets at least one, as long as there are enough.
        group_of: the group of a name; names of one group stay in one part.

    Returns:
        The names of each part, in the order of `names`.
    """
    names = list(names)
    groups = {name: group_of(name) for name in names}
    left = sorted(set(groups.values()), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    total, part_of = len(left), dict[str, str]()
    for number, (part, fraction) in enumerate(shares.items(), 1):
        behind = len(shares) - number
        count = max(1, min(round(fraction * total), len(left) - behind)) if behind else len(left)
        part_of |= dict.fromkeys(left[:count], part)
        left = left[count:]
    return {part: [name for name in names if part_of[groups[name]] == part] for part in shares}


def read_list(path: Path, *, names_one: Callable[[str], bool] = lambda line: False) -> list[str]:
    """Return the image names of a list file, without endings and second column: VOC's -1, 0 or 1, or the XML file.

    Args:
        path: of the list.
        names_one: whether a whole line is the name of an image, whatever it ends in.
    """
    names = []
    for number, line in enumerate(read_lines(path), 1):
        name = line.strip()
        if not name:
            continue
        is_whole = names_one(name)
        name = check_file_name(name if is_whole else _first_column(name), where=f"{path}, line {number}").as_posix()
        bare = name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in (*SUFFIXES, ".xml") else name
        names.append(name if is_whole and bare != name and not names_one(bare) else bare)
    return names


def _first_column(line: str) -> str:
    """Return a line without VOC's second column, or without the XML file behind its image."""
    first, *second = line.rsplit(maxsplit=1)
    if second and second[0] in ("-1", "0", "1"):
        return first
    pair = re.fullmatch(r"(.+\.\w+)\s+\S.*\.xml", line, re.IGNORECASE)
    return pair[1] if pair and Path(pair[1]).suffix.lower() in SUFFIXES else line


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list of images.

    Raises:
        DataError: it cannot be read, or is no UTF-8.
    """
    try:
        return read_bytes(path, most=MAX_LIST).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list cannot be read: {reason_of(error)}.") from None


def not_in_train(labels: Mapping[str, set[str]], split: str) -> list[str]:
    """Return a note if a split has classes that the split `train` has no box of.

    Args:
        labels: the class names that have boxes, by split.
        split: the split that is read.
    """
    train = next((labels[name] for name in labels if usual_name(name) == "train"), None)
    if train is None or usual_name(split) in ("train", "trainval") or labels[split] <= train:
        return []
    return [NOT_IN_TRAIN + first_names(sorted(labels[split] - train))]
