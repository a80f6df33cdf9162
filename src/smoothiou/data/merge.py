"""Several data sets, or several splits of one, read as one. No torch.

    DATA   FOLDER[:SPLIT] + FOLDER[:SPLIT] ...      data/VOC2007+data/VOC2012
    split  [FOLDER:]SPLIT + [FOLDER:]SPLIT ...      VOC2007:train+VOC2012:train, train+val

A split without a folder means that split of every folder of DATA. A split after a folder of DATA is what `train`
means for that folder. Merged sets of PASCAL VOC have names of their own, `PROTOCOLS`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothiou.data.faults import first_names
from smoothiou.data.formats.own import is_code
from smoothiou.data.leaks import same_photos
from smoothiou.data.records import Dataset, Record
from smoothiou.errors import DataError
from smoothiou.words import counted


@dataclass(frozen=True, slots=True)
class Part:
    """One folder (or file) of a data set, and one of its splits; "" where none was given."""

    folder: str
    split: str

    @property
    def name(self) -> str:
        """The folder's own name, by which a split picks it."""
        return Path(os.path.abspath(self.folder)).name


@dataclass(frozen=True, slots=True)
class Protocol:
    """A merged training set that has a name: (year, split) of its parts, and of the split to test on."""

    train: tuple[tuple[str, str], ...]
    test: tuple[str, str]


PROTOCOLS = {
    # The paper's.
    "VOC++Train": Protocol((("2007", "train"), ("2012", "train")), ("2012", "val")),
    # The literature's two.
    "07+12": Protocol((("2007", "trainval"), ("2012", "trainval")), ("2007", "test")),
    "07++12": Protocol((("2007", "trainval"), ("2007", "test"), ("2012", "trainval")), ("2012", "test")),
}


def folders(path: str | Path) -> list[Part]:
    """Return the folders that DATA names, each with the split that `train` means for it ("": its own).

    A path that exists is taken as it is, whatever characters its name has.

    Raises:
        DataError: nothing stands before or after a `+`.
    """
    sources: list[Part] = []
    pending = ""
    pieces = str(path).split("+")
    for number, piece in enumerate(pieces, 1):
        pending = f"{pending}+{piece}" if pending else piece
        folder, colon, split = pending.rpartition(":")
        is_last = number == len(pieces)
        if not _exists(pending) and colon and re.fullmatch(r"[\w.-]+", split) and (_exists(folder) or is_last):
            sources.append(Part(folder, split))
        elif _exists(pending) or is_last:
            sources.append(Part(pending, ""))
        else:
            continue
        pending = ""
    if len(sources) > 1 and not all(part.folder for part in sources):
        raise DataError(f"DATA is {path}, in which a folder beside a + has no name.", hint="Write FOLDER+FOLDER.")
    return sources


def parts(path: str | Path, split: str) -> tuple[Part, ...]:
    """Return the folders and splits that a split of DATA consists of; one, if nothing is merged.

    Raises:
        DataError: the split picks a folder that DATA does not name, or one of several of that name.
    """
    sources = folders(path)
    if protocol := protocol_name(split):
        return tuple(_of_year(sources, year, part, protocol) for year, part in PROTOCOLS[protocol].train)
    chosen: list[Part] = []
    for piece in split.split("+"):
        name, colon, part = piece.rpartition(":")
        if colon:
            chosen.append(Part(_pick(sources, name, split).folder, part))
        else:
            chosen += [Part(each.folder, each.split if each.split and part == "train" else part) for each in sources]
    return tuple(dict.fromkeys(chosen))


def protocol_name(split: str) -> str:
    """Return the name of a merged set as `PROTOCOLS` spells it, or "" for any other split."""
    return next((name for name in PROTOCOLS if name.casefold() == split.casefold()), "")


def protocol_test(path: str | Path, split: str) -> str:
    """Return the split that a merged set with a name is tested on, as `VOC2012:val`; "" for any other split."""
    if not (protocol := protocol_name(split)):
        return ""
    year, part = PROTOCOLS[protocol].test
    return f"{_of_year(folders(path), year, part, protocol).name}:{part}"


def is_merged(path: str | Path, split: str = "") -> bool:
    """Return whether DATA names several folders, or the split is written as a sum, with a folder or by a name."""
    sources = folders(path)
    return len(sources) > 1 or bool(sources[0].split) or bool(re.search(r"[+:]", split))


def merge(datasets: Sequence[Dataset], sources: Sequence[Part], *, split: str) -> Dataset:
    """Return several splits as one, in the order in which they were named.

    Images are called `FOLDER/NAME` where several folders were merged, so the fingerprint covers all of them. An
    image that is in two splits of one folder is read once.

    Args:
        datasets: the parts.
        sources: folder and split of each.
        split: the name of the whole.

    Raises:
        DataError: the classes differ.
    """
    first = datasets[0]
    for dataset, part in zip(datasets, sources, strict=True):
        check_classes(first.classes, dataset.classes, f"{sources[0].name} and {part.name}")
    several = len({part.folder for part in sources}) > 1
    is_ambiguous = len({part.name for part in sources}) < len({part.folder for part in sources})
    names = [part.folder if is_ambiguous else part.name for part in sources]
    records: dict[tuple[str, str], Record] = {}
    notes, faults, repeated = [], [], 0
    for dataset, part, name in zip(datasets, sources, names, strict=True):
        for record in dataset.records:
            key = part.folder, record.name
            repeated += key in records
            records.setdefault(key, dataclasses.replace(record, name=f"{name}/{record.name}") if several else record)
        notes += [f"{name}: {note}" if several else note for note in dataset.notes]
        faults += dataset.faults
    if repeated:
        notes.append(f"{counted(repeated, 'image is', 'images are')} in two of the merged splits and read once")
    for i, part in enumerate(sources):
        for j in range(i):
            if part.folder != sources[j].folder and (both := same_photos(datasets[j], datasets[i])):
                pairs = first_names([name for name, _ in both])
                photos = counted(len(both), "photo is", "photos are")
                notes.append(f"{photos} in {names[j]} and in {names[i]}, counted twice: {pairs}")
    sizes = ", ".join(f"{p.name}:{d.split} {len(d.records)}" for p, d in zip(sources, datasets, strict=True))
    return Dataset(
        name="+".join(dict.fromkeys(names)),
        format="+".join(dict.fromkeys(dataset.format for dataset in datasets)),
        split=split,
        classes=first.classes,
        records=tuple(records.values()),
        faults=tuple(faults),
        notes=(f"merged, images of each: {sizes}", *dict.fromkeys(notes)),
    )


def check_classes(one: Sequence[str], other: Sequence[str], what: str) -> None:
    """Refuse to use two data sets together whose classes differ, or whose numbers of the same classes would.

    Raises:
        DataError: with the classes that only one of them has.
    """
    if tuple(one) == tuple(other):
        return
    only = sorted(set(one) ^ set(other))
    how = f"{first_names(only)} in one of them only" if only else "the same ones in another order"
    raise DataError(
        f"{what} have different classes and cannot be used together: {how}.",
        hint="Name data with the same classes, in the same order.",
    )


def resolved(path: str) -> str:
    """Return DATA with the full path of each folder, under which it is found from any working folder."""

    def full(part: Part) -> str:
        folder = os.path.expanduser(part.folder)
        folder = os.path.abspath(folder) if os.path.exists(folder) else part.folder
        return f"{folder}:{part.split}" if part.split else folder

    return "+".join(map(full, folders(path)))


def all_exist(path: str) -> bool:
    """Return whether every folder of DATA exists."""
    return all(_exists(part.folder) for part in folders(path))


def _exists(text: str) -> bool:
    return text == "shapes" or (bool(text) and os.path.exists(os.path.expanduser(text))) or is_code(text)


def _pick(sources: Sequence[Part], name: str, split: str) -> Part:
    """Return the folder of DATA that a split picks by name or by path."""
    fits = [source for source in sources if name in (source.folder, source.name)]
    fits = fits or [source for source in sources if source.name.casefold() == name.casefold()]
    if len(fits) == 1:
        return fits[0]
    what = f"several folders are called {name}" if fits else f"DATA has no folder {name}"
    raise DataError(
        f'split "{split}": {what}; it names {", ".join(source.folder for source in sources)}.',
        hint="Write the folder as in DATA." if fits else "DATA is FOLDER+FOLDER where several are needed.",
    )


def _of_year(sources: Sequence[Part], year: str, split: str, protocol: str) -> Part:
    """Return the folder of one year of PASCAL VOC."""
    fits = [source for source in sources if re.search(rf"{year}\D*$", source.name)]
    if len(fits) != 1:
        raise DataError(
            f"{protocol} needs the folders of PASCAL VOC 2007 and 2012, told by the years in their names; "
            f"DATA is {', '.join(source.folder for source in sources)}, with {len(fits)} of {year}.",
            hint="Write DATA as PATH/VOC2007+PATH/VOC2012.",
        )
    return Part(fits[0].folder, split)
