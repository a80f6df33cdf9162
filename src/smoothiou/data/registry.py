"""All formats, and how a path becomes an open data set: detect, list the splits, read one. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from smoothiou.data import merge
from smoothiou.data.faults import first_names, refuse_dropped
from smoothiou.data.foreign import FOREIGN_ROOTS, foreign_json
from smoothiou.data.formats import udacity_table
from smoothiou.data.formats.base import Format, Options, Problems
from smoothiou.data.formats.coco import Coco
from smoothiou.data.formats.coco_json import load_json
from smoothiou.data.formats.own import Own
from smoothiou.data.formats.pets import Pets
from smoothiou.data.formats.shapes import Shapes
from smoothiou.data.formats.udacity import Udacity
from smoothiou.data.formats.voc import Voc
from smoothiou.data.formats.voc_xml import xml_root
from smoothiou.data.formats.yolo import Yolo
from smoothiou.data.image_finder import list_images
from smoothiou.data.listing import files_in, folders_in, is_companion
from smoothiou.data.long_tail import tail_note
from smoothiou.data.records import Dataset
from smoothiou.data.splits import NOT_IN_TRAIN, Cut, in_usual_order, usual_name
from smoothiou.errors import ConfigError, DataError, bare_message, did_you_mean
from smoothiou.files import MAX_PIXELS, Limits, allowing, reason_of, short
from smoothiou.import_object import import_object

# In the order of detection: a Pets folder also looks like VOC, an ImageSets folder settles what a stray JSON would
# leave open, and label files in CSV or YOLO's form lie beside many a converted data set.
FORMATS: Mapping[str, type[Format]] = {
    "pets": Pets,
    "voc": Voc,
    "coco": Coco,
    "yolo": Yolo,
    "udacity": Udacity,
    "shapes": Shapes,
    "own": Own,
}


def load_dataset(
    path: str | Path,
    *,
    format: str | None = None,
    split: str = "train",
    labels: str = "",
    split_seed: int = 0,
    cut: Cut = "80/20",
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
        path: a data folder, one file of COCO, YOLO (data.yaml) or Udacity, several of them joined by `+`, `shapes` for
            images drawn on the fly, or `package.module:object` for a data set of one's own.
        format: name of a format (see `FORMATS`), or `package.module:object` of a class of one's own; None or `auto`
            looks at the folder.
        split: name of the split; `train` also finds `train2017`, `val` also finds `valid`. Merged splits are written
            `VOC2007:train+VOC2012:train`, or have a name: `VOC++Train`, `07+12`, `07++12` (see `merge.py`).
        labels: which labels, where there are several: `head`, `species` or `breed` (`pets` only).
        split_seed: of the cut where no split is shipped, and of what `shapes` draws.
        cut: its shares: `80/20` for train and val, `70/15/15` for train, val and test.
        allow_dropped: how many boxes without area or outside their image may be left out.
        max_pixels: most pixels of an image; a larger one stops the reading before it is decoded.
        follow_links: whether links inside the data folder may lead out of it.
        images: of the training split (`shapes` only).
        size: side of an image in pixels (`shapes` only).
        loose: how loosely training boxes are drawn, as a fraction of the box side, 0 to 0.5 (`shapes` only).
        long_tail: class k = 0, 1, ... is drawn in proportion to 1 / (k + 1) ** long_tail (`shapes` only).

    Raises:
        DataError: the path, the split or the data has something wrong.
        ConfigError: an option has a value that does not exist.
    """
    options = Options(
        labels=labels, split_seed=split_seed, cut=cut, images=images, size=size, loose=loose, long_tail=long_tail
    )  # fmt: skip
    sources = merge.parts(path, split)
    with allowing(Limits(pixels=max_pixels, links=follow_links)), readable(path):
        datasets = [
            open_data(part.folder, format=format, options=options).read(part.split, allow_dropped=allow_dropped)
            for part in sources
        ]
    dataset = datasets[0]
    if len(datasets) > 1:
        dataset = merge.merge(datasets, sources, split=merge.protocol_name(split) or split)
        refuse_dropped(dataset.faults, allow_dropped=allow_dropped, data=dataset.name)
    notes = list(dataset.notes)
    if merge.is_merged(path, split):
        # A folder's own `train` is not the training split of merged data.
        notes = [note for note in notes if NOT_IN_TRAIN not in note]
    if not all(usual_name(p.split) in ("val", "test") or p.split.endswith(("-val", "-test")) for p in sources):
        notes += tail_note(dataset.counts()["per_class"])
    return dataclasses.replace(dataset, notes=tuple(notes))


def open_data(
    path: str | Path, *, format: str | None = None, options: Options | None = None, problems: Problems | None = None
) -> Format:
    """Return one data set (not several joined by `+`), opened but for its entries.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        options: how it is read.
        problems: what is done about faults; by default the first is raised.

    Raises:
        DataError: nothing is at this path, or nothing known.
        ConfigError: no such format, or labels that the format does not have.
    """
    options = options or Options()
    if format in (None, "", "auto"):
        format = _detect(path)
    kind = _format_class(format)
    expanded = Path(os.path.expanduser(path))
    if kind.is_path and not os.path.exists(expanded):
        raise _no_such_folder(expanded)
    if options.labels and format != "pets":
        raise ConfigError(
            f"data.labels: {options.labels!r} was requested, but data in the format {format} has one kind of labels.",
            hint="Leave it out.",
        )
    return kind(expanded, options, problems)


def _format_class(name: str) -> type[Format]:
    """Return the class of a format, by its name or as `package.module:object`."""
    if name in FORMATS:
        return FORMATS[name]
    if ":" not in name:
        raise ConfigError(f"data.format: {name!r} is no format.", hint=did_you_mean(name, ("auto", *FORMATS)))
    kind = import_object(name)
    if not isinstance(kind, type) or not issubclass(kind, Format):
        raise ConfigError(f"data.format: {name} is no subclass of smoothiou.data.formats.base.Format.")
    return kind


def detect_format(path: str | Path) -> str:
    """Return the name of a data set's format (see `FORMATS`); of several, all, joined by `+`.

    Args:
        path: a data folder, a file, several joined by `+`, `shapes`, or `package.module:object`.

    Raises:
        DataError: nothing is at this path, or nothing known; with what was looked for and what is in the folder.
    """
    with readable(path):
        return "+".join(dict.fromkeys(_detect(part.folder) for part in merge.folders(path)))


def list_splits(path: str | Path, format: str | None = None, *, cut: Cut = "80/20") -> tuple[str, ...]:
    """Return the names of the splits that have boxes; those of `cut` where none is shipped.

    Of several folders, the splits that all of them have, by their usual names.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        cut: shares of the cut where no split is shipped: `80/20` or `70/15/15`.

    Raises:
        DataError: as for `detect_format`, or an annotation cannot be read.
    """
    with readable(path):
        splits = [splits_of(part.folder, format, cut=cut) for part in merge.folders(path)]
    if len(splits) == 1:
        return splits[0]
    return in_usual_order(set.intersection(*({usual_name(name) for name in names} for names in splits)))


def splits_of(path: str, format: str | None, *, cut: Cut = "80/20") -> tuple[str, ...]:
    """Return the names of the splits of one folder that have boxes."""
    data = open_data(path, format=format, options=Options(cut=cut))
    return tuple(split for split in data.splits if data.has_boxes(split))


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Name the folder or file that the system does not let us read, or whose name no file can have."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {reason_of(error)}.") from None


def _detect(path: str | Path) -> str:
    for name, format in FORMATS.items():
        if not format.is_path and format.fits(Path(path)):
            return name
    path = Path(os.path.expanduser(path))
    if not os.path.exists(path):
        raise _no_such_folder(path)
    if format := _fitting(path):
        return format
    if Voc.fits_loosely(path):
        return "voc"
    if path.is_file():
        raise DataError(
            f"{path}: expected a folder, a COCO file (.json), YOLO's data.yaml or a file of Udacity's labels (.csv, "
            ".csv.gz).",
            hint=_foreign_xml(path) or "Pass the folder that holds it.",
        )
    raise _no_known_data_set(path)


def _no_known_data_set(path: Path) -> DataError:
    """Return the error about a folder in no known format: what is in it, and which folder in it could be meant."""
    children = sorted(child for child in path.iterdir() if not is_companion(child.name))
    deeper = [child for child in children if child.is_dir() and _fitting(child)]
    content = [child.name + "/" * child.is_dir() for child in children]
    without_images = [child.name for child in deeper if files_in(child, ".xml") and not list_images(child)]
    if len(without_images) > 1:
        names = first_names(without_images)
        hint = "Put each with its images into a folder of its own, as train/annotations and train/images."
        return DataError(f"{path}: no known data set: {names} hold XML without images.", hint=hint)
    several = f", or several joined by +, as {deeper[0]}+{deeper[1]}" if len(deeper) > 1 else ""
    layouts = "; ".join(f"{format.layout} ({name})" for name, format in FORMATS.items() if format.layout)
    return DataError(
        f"{path}: no known data set. Looked for {layouts}. Found: {first_names(content) or 'an empty folder'}.",
        hint=f"Pass {deeper[0]} instead{several}." if deeper else _why_not(path),
    )


def _why_not(path: Path) -> str:
    """Return why tables, JSON or XML of a folder are not read: a tool's own form, or what a header lacks."""
    for file in files_in(path, *udacity_table.ENDINGS)[:1]:
        try:
            udacity_table.read_labels(file)
        except DataError as error:
            return f"{file.name}: {bare_message(error, str(file))}. {error.hint}"
    for file in (file for folder in (path, *folders_in(path)) for file in files_in(folder, ".json")[:3]):
        with suppress(DataError):
            if hint := foreign_json(load_json(file)):
                return f"{file.name}: {hint}"
    for file in (file for folder in (path, *folders_in(path)) for file in files_in(folder, ".xml")[:1]):
        if hint := _foreign_xml(file):
            return f"{file.name}: {hint}"
    return ""


def _foreign_xml(file: Path) -> str:
    """Return which tool's XML a file is and what to export, or what else its root should be; "" if it is VOC's."""
    root = xml_root(file) if file.suffix.lower() == ".xml" else ""
    if root in ("", "annotation"):
        return ""
    return FOREIGN_ROOTS.get(root, f"Expected the root <annotation> of PASCAL VOC, got {short(root)}.")


def _fitting(path: Path) -> str:
    return next((name for name, format in FORMATS.items() if format.is_path and format.fits(path)), "")


def _no_such_folder(path: Path) -> DataError:
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = did_you_mean(path.name, [*siblings, "shapes"])
    otherwise = (
        "Name the folder of a data set (of a finished run: --data), `shapes` for the synthetic one, or "
        "package.module:object that can be imported from here."
    )
    location = "" if path.is_absolute() else f" in {os.getcwd()}"
    return DataError(f"{path}: no such folder{location}.", hint=guess if guess.startswith("Did") else otherwise)
