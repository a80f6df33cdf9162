"""The way in: which format a folder has, which splits it offers, and reading one of them. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smoothiou.data import coco, merge, pets, shapes, udacity, voc
from smoothiou.data.faults import first_names, refuse_dropped
from smoothiou.data.records import Dataset
from smoothiou.data.splits import UNLEARNT, find_split, in_usual_order, usual_name
from smoothiou.data.tail import tail_note
from smoothiou.data.udacity_file import read_labels
from smoothiou.errors import ConfigError, DataError, did_you_mean
from smoothiou.files import MAX_PIXELS, Limits, allowing

FORMATS = ("voc", "coco", "pets", "udacity", "shapes")


def load_dataset(
    path: str | Path,
    *,
    format: str | None = None,
    split: str = "train",
    labels: str = "",
    split_seed: int = 0,
    allow_dropped: int = 0,
    max_pixels: int = MAX_PIXELS,
    follow_links: bool = False,
    images: int = 300,
    size: int = 128,
    loose: float = 0.0,
    long_tail: float = 0.0,
) -> Dataset:
    """Return one split of a data set as records, with every fault counted and named.

    Args:
        path: a data folder, one COCO or Udacity file, several of them joined by `+`, or `shapes` for images drawn on
            the fly.
        format: `voc`, `coco`, `pets`, `udacity` or `shapes`; None or `auto` looks at the folder.
        split: name of the split; `train` also finds `train2017`, `val` also finds `valid`. Merged splits are written
            `VOC2007:train+VOC2012:train`, or have a name: `VOC++Train`, `07+12`, `07++12` (see `merge.py`).
        labels: which labels, where there are several: `head`, `species` or `breed` (`pets` only).
        split_seed: of the 80/20 cut where no split is shipped, and of what `shapes` draws.
        allow_dropped: how many boxes without area or outside their image may be left out.
        max_pixels: most pixels of an image; a larger one stops the reading before it is decoded.
        follow_links: whether links inside the data folder may lead out of it.
        images: of the training split (`shapes` only).
        size: side of an image in pixels (`shapes` only).
        loose: how loosely training boxes are drawn, as a share of the box side, 0 to 0.5 (`shapes` only).
        long_tail: 0 for classes of equal number, larger for a longer tail (`shapes` only).

    Raises:
        DataError: the path, the split or the data has something wrong.
        ConfigError: an option has a value that does not exist.
    """
    wanted = merge.parts(path, split)
    with allowing(Limits(pixels=max_pixels, links=follow_links)), _readable(path):
        found = [
            _load_one(
                part.folder, format=format, split=part.split, labels=labels, split_seed=split_seed,
                allow_dropped=allow_dropped, images=images, size=size, loose=loose, long_tail=long_tail,
            )
            for part in wanted
        ]  # fmt: skip
    dataset = found[0]
    if len(found) > 1:
        dataset = merge.merge(found, wanted, split=merge.protocol_name(split) or split)
        refuse_dropped(dataset.faults, allow_dropped=allow_dropped, data=dataset.name)
    notes = list(dataset.notes)
    if merge.is_merged(path, split):
        # A folder's own `train` is not what is learnt from here.
        notes = [note for note in notes if UNLEARNT not in note]
    if not all(usual_name(part.split) in ("val", "test") or part.split.endswith(("-val", "-test")) for part in wanted):
        notes += tail_note(dataset.counts()["per_class"])
    return dataclasses.replace(dataset, notes=tuple(notes))


def _load_one(
    path: str,
    *,
    format: str | None,
    split: str,
    labels: str,
    split_seed: int,
    allow_dropped: int,
    images: int,
    size: int,
    loose: float,
    long_tail: float,
) -> Dataset:
    """Return one split of one data set."""
    kind = _format(path, format)
    if labels and kind != "pets":
        raise ConfigError(
            f"data.labels: {labels!r} was asked for, but data in the format {kind} has one kind of labels.",
            hint="Leave it out.",
        )
    if kind == "shapes":
        return shapes.draw(split=split, seed=split_seed, images=images, size=size, loose=loose, long_tail=long_tail)
    root = Path(os.path.expanduser(path))
    if kind == "pets":
        return pets.read(root, split=split, split_seed=split_seed, allow_dropped=allow_dropped, labels=labels)
    reader = {"voc": voc, "coco": coco, "udacity": udacity}[kind]
    return reader.read(root, split=split, split_seed=split_seed, allow_dropped=allow_dropped)


def detect_format(path: str | Path) -> str:
    """Return the format of a data set: `voc`, `coco`, `pets`, `udacity` or `shapes`; of several, all, joined by `+`.

    Raises:
        DataError: nothing is at this path, or nothing known; with what was looked for and what was found.
    """
    with _readable(path):
        return "+".join(dict.fromkeys(_detect_one(part.folder) for part in merge.folders(path)))


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Name the folder or file that the system does not let us read, or whose name no file can have."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {error.strerror or error}.") from None


def _detect_one(path: str | Path) -> str:
    if str(path) == "shapes":
        return "shapes"
    path = Path(os.path.expanduser(path))
    if not os.path.exists(path):
        raise _no_such_folder(path)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "coco"
        if path.name.lower().endswith(udacity.ENDINGS):
            read_labels(path)  # which says what is wrong with it, if anything is
            return "udacity"
        raise DataError(
            f"{path}: expected a folder, a COCO file (.json) or a file of Udacity's labels (.csv, .csv.gz).",
            hint="Pass the folder that holds it.",
        )
    # A Pets folder also looks like VOC, an ImageSets folder settles what a stray JSON would leave open, and label
    # files in CSV lie beside many a converted data set.
    checks = (("pets", pets.is_pets), ("voc", voc.is_voc), ("coco", coco.is_coco), ("udacity", udacity.is_udacity))
    for name, fits in checks:
        if fits(path):
            return name
    deeper = [
        child.name for child in sorted(path.iterdir()) if child.is_dir() and any(fits(child) for _, fits in checks)
    ]
    found = sorted(child.name + "/" * child.is_dir() for child in path.iterdir())
    several = f", or several joined by +, as {path / deeper[0]}+{path / deeper[1]}" if len(deeper) > 1 else ""
    raise DataError(
        f"{path}: no known data set. Looked for ImageSets/Main/*.txt with Annotations/*.xml, or XML files "
        "beside images or in annotations/ (voc); annotations/*.json, *.json and */*.json with images, "
        "annotations and categories (coco); annotations/xmls with annotations/trainval.txt (pets); *.csv and *.csv.gz "
        "with the columns of Udacity's labels (udacity). "
        f"Found: {first_names(found) or 'an empty folder'}.",
        hint=f"Pass {path / deeper[0]} instead{several}." if deeper else "",
    )


def list_splits(path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Return the names of the splits that have boxes; `train` and `val` where none is shipped.

    Of several folders, the splits that all of them have, as they are usually called.

    Raises:
        DataError: as for `detect_format`, or an annotation cannot be read.
    """
    with _readable(path):
        homes = [_splits_of(part.folder, format) for part in merge.folders(path)]
    if len(homes) == 1:
        return homes[0]
    usual = [{usual_name(name) for name in names} for names in homes]
    return in_usual_order(set.intersection(*usual))


def _splits_of(path: str, format: str | None) -> tuple[str, ...]:
    kind = _format(path, format)
    if kind == "shapes":
        return shapes.SPLITS
    return {"voc": voc, "coco": coco, "pets": pets, "udacity": udacity}[kind].split_names(
        Path(os.path.expanduser(path))
    )


def choose_splits(
    path: str | Path, *, format: str | None = None, train: str = "", val: str = "", test: str = ""
) -> tuple[str, str, str]:
    """Return the splits to learn from, to watch ("" for none) and to measure on, as the data set names them.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        train: empty: `train`.
        val: empty: `val`, if it has boxes and nothing of it is learnt from or tested on; else none.
        test: empty: `test` if it has boxes, else `val`; of a training set with a partner (`tf-train` and `tf-val`,
            `VOC++Train` and `VOC2012:val`) the partner.

    Raises:
        DataError: a split named here has no boxes, or nothing is left for a split that is needed.
    """
    known = list_splits(path, format)
    data = str(path)

    def named(split: str) -> str:
        if not merge.is_merged(path, split):
            return find_split(split, known, data=data)
        for part in merge.parts(path, split):
            find_split(part.split, _splits_of(part.folder, format), data=part.name)
        return split

    def first(role: str, *names: str) -> str:
        for name in names:
            near = [split for split in known if usual_name(split) == name]
            if near:
                return find_split(name, known, data=data)
        hint = f"Name one with --data.{'train' if role == 'learn from' else 'test'}."
        if role == "test on" and len(known) == 1:
            hint = (
                "Add a val split. Images are cut 80/20 where no split is shipped: in a COCO file whose name tells no "
                "split (annotations.json), or XML beside images without ImageSets."
            )
        raise DataError(
            f"{data}: found no split with boxes to {role}; with boxes: {', '.join(known) or 'none'}.",
            hint=hint,
        )

    train = named(train) if train else first("learn from", "train")
    learnt = _covered(path, train)
    unseen = [split for split in known if not _covered(path, split) & learnt]
    partner = _partner(path, train, known)
    offered = [name for name in ("test", "val") if name in map(usual_name, unseen)]
    test = named(test) if test else _tested_on(train, partner, named) if partner else first("test on", *offered)
    if val:
        return train, named(val), test
    taken = learnt | _covered(path, test)
    watch = [split for split in unseen if usual_name(split) == "val" and not _covered(path, split) & taken]
    return train, watch[0] if watch and not partner else "", test


def _tested_on(train: str, partner: str, named: Callable[[str], str]) -> str:
    try:
        return named(partner)
    except DataError as error:
        raise DataError(
            f"{train} is tested on {partner}, which has no boxes here: {error.message}",
            hint="Name another split with --data.test.",
        ) from None


def _covered(path: str | Path, split: str) -> set[tuple[str, str]]:
    """Return the folders and usual names of the splits that a split holds; trainval holds train and val."""
    covered: set[tuple[str, str]] = set()
    for part in merge.parts(path, split):
        name = usual_name(part.split)
        covered |= {(part.folder, each) for each in ((name, "train", "val") if name == "trainval" else (name,))}
    return covered


def _partner(path: str | Path, train: str, known: Sequence[str]) -> str:
    """Return the split that is made to test what another has learnt from: of `cut-train`, `cut-val`; else ""."""
    protocol = merge.protocol_test(path, train)
    if protocol:
        return protocol
    stem = train.removesuffix("train")
    return next((stem + end for end in ("test", "val") if stem.endswith("-") and stem + end in known), "")


def _format(path: str | Path, format: str | None) -> str:
    """Return the format asked for, or the one found; the path must exist either way."""
    if format in (None, "", "auto"):
        return _detect_one(path)
    if format not in FORMATS:
        raise ConfigError(f"data.format: {format!r} is no format.", hint=did_you_mean(format, ("auto", *FORMATS)))
    if format != "shapes" and not os.path.exists(os.path.expanduser(path)):
        raise _no_such_folder(Path(os.path.expanduser(path)))
    return format


def _no_such_folder(path: Path) -> DataError:
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = did_you_mean(path.name, [*siblings, "shapes"])
    otherwise = "Name the folder of a data set, or `shapes` for the synthetic one."
    return DataError(f"{path}: no such folder.", hint=guess if guess.startswith("Did") else otherwise)
