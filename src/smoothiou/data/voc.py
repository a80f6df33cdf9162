"""PASCAL VOC: one XML file per image. No torch.

Layouts read, the first that fits:

    Annotations/ID.xml, JPEGImages/ID.*, ImageSets/Main/{train,val,test}.txt    the lists decide
    train/*.xml + images, val/ (or valid/) ..., test/ ...                       one folder per split
    annotations/*.xml + images/*, or XML files beside their images              cut 80/20 by a seed

Corners are 1-based and inclusive, so (xmin, ymin, xmax, ymax) becomes (xmin - 1, ymin - 1, xmax, ymax).
Reference: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010; development kit 2007.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothiou.data.faults import first_names, fit_boxes, refuse_dropped, refuse_missing_images, size_fault
from smoothiou.data.images import ImageFinder, check_file_name, image_size
from smoothiou.data.records import Dataset, Fault, ImageFile, Record
from smoothiou.data.splits import find_split, in_usual_order, read_list, seeded_cut, unlearnt, usual_name
from smoothiou.data.voc_file import Annotation, read_annotation
from smoothiou.errors import DataError
from smoothiou.files import open_regular, refuse_links_out

CLASSES = (
    *(
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
    ),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a split: its name, where its XML should be, and who finds its image."""

    name: str
    xml: Path
    finder: ImageFinder


def read(root: Path, *, split: str, split_seed: int, allow_dropped: int) -> Dataset:
    """Return one split.

    Raises:
        DataError: what the file of any image of the data set, or the split, has wrong.
    """
    data = root.resolve().name
    items, notes = splits(root, split_seed=split_seed)
    name = find_split(split, in_usual_order(items), data=data)
    annotations = {
        item.xml: read_annotation(item.xml, root=root)
        for part in items.values()
        for item in part
        if os.path.isfile(item.xml)
    }
    labels = {
        part: {box.label for item in items[part] if item.xml in annotations for box in annotations[item.xml].boxes}
        for part in items
    }
    official = (root / "ImageSets" / "Main").is_dir()
    records, faults = make_records(items[name], annotations, root=root, split=name)
    refuse_dropped(faults, allow_dropped=allow_dropped, data=data)
    return Dataset(
        name=data,
        format="voc",
        split=name,
        classes=class_order(set().union(*labels.values()), official=official),
        records=tuple(records),
        faults=tuple(faults),
        notes=(*notes, *unlearnt(labels, name)),
    )


def split_names(root: Path, *, split_seed: int = 0) -> tuple[str, ...]:
    """Return the names of the splits that have boxes."""
    items, _ = splits(root, split_seed=split_seed)
    return in_usual_order(name for name, part in items.items() if has_boxes(part, root=root))


def is_voc(root: Path) -> bool:
    """Return whether a folder is in one of the layouts read here."""
    return bool(_listed(root) or _split_folders(root) or _flat(root, root))


def class_order(labels: Iterable[str], *, official: bool) -> tuple[str, ...]:
    """Return class names in a fixed order: VOC's own where all are VOC's, else by name.

    Args:
        labels: all names found in the data set.
        official: whether the folder has VOC's lists; then all 20 classes are kept, also those without a box,
            so that two years, or two samples of one, have the same numbers for the same classes.
    """
    labels = set(labels)
    if labels <= set(CLASSES):
        return tuple(name for name in CLASSES if official or name in labels)
    return tuple(sorted(labels))


# ---- which images belong to which split


def splits(root: Path, *, split_seed: int, strict: bool = True) -> tuple[dict[str, list[Item]], list[str]]:
    """Return the items of every split, and notes on how they were found.

    Args:
        root: the data folder.
        split_seed: of the cut, where no split is shipped.
        strict: whether missing images, and images of another year, stop the reading there.
    """
    shipped = _listed(root) or _split_folders(root)
    if shipped:
        return shipped
    items = [item for item in _flat(root, root) if os.path.isfile(item.xml)]
    if strict:
        _refuse_incomplete(items, root)
    notes = [f"split 80/20 by seed {split_seed}: none is shipped"]
    if items and (alone := sorted(items[0].finder.stems() - {item.name for item in items})):
        count = "1 image" if len(alone) == 1 else f"{len(alone)} images"
        notes.append(f"{count} without XML left out: {first_names(alone)}")
    cut = seeded_cut([item.name for item in items], seed=split_seed)
    by_name = {item.name: item for item in items}
    return {name: [by_name[stem] for stem in stems] for name, stems in cut.items()}, notes


def _refuse_incomplete(items: Sequence[Item], root: Path) -> None:
    """Stop before XML without an image is cut into splits.

    Raises:
        DataError: with the first names.
    """
    _refuse_voc_without_lists([item.name for item in items], data=root.resolve().name)
    found = {item.xml: read_annotation(item.xml, root=root) for item in items}
    missing = [item.xml.name for item in items if _find_image(item, found[item.xml]) is None]
    refuse_missing_images(
        missing,
        data=root.resolve().name,
        looked_in="the folder of the images and beside the XML",
        hint="Add them, remove their XML, or name the usable ones in ImageSets/Main/train.txt and val.txt.",
    )


def _refuse_voc_without_lists(names: Sequence[str], *, data: str) -> None:
    """Stop before images of VOC 2012 are found by their files, for it carries images of VOC 2007 for segmentation.

    Raises:
        DataError: names of both years are there, and no list.
    """
    old = [name for name in names if re.fullmatch(r"2007_\d{6}", name)]
    new = [name for name in names if re.fullmatch(r"20(08|09|10|11)_\d{6}", name)]
    if old and new:
        raise DataError(
            f"{data}: VOC 2012 without its lists: {first_names(old)} are images of VOC 2007 that it carries for "
            "segmentation, some of them of VOC 2007's val and test.",
            hint="Put its ImageSets/Main there, which names the images of each split.",
        )


def has_boxes(items: Iterable[Item], *, root: Path) -> bool:
    """Return whether any image of a split has a box."""
    return any(os.path.isfile(item.xml) and read_annotation(item.xml, root=root).boxes for item in items)


def _listed(root: Path) -> tuple[dict[str, list[Item]], list[str]] | None:
    """Return the splits of ImageSets/Main, if there are any."""
    annotations = _folder(root, "annotations")
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    if not annotations or not lists:
        return None
    finder = ImageFinder(root, filter(None, [_folder(root, "jpegimages", "images"), annotations, root]))
    items: dict[str, list[Item]] = {}
    notes = []
    for name, path in lists.items():
        if _is_class_list(path, lists):
            continue
        names = read_list(refuse_links_out(path, root=root, where=path.name))
        once = list(dict.fromkeys(names))
        if len(once) < len(names):
            notes.append(f"{path.name} names {len(names) - len(once)} images twice; each was read once")
        items[name] = [Item(stem, annotations / f"{stem}.xml", finder) for stem in once]
    return items, notes


def _is_class_list(path: Path, lists: Mapping[str, Path]) -> bool:
    """Return whether a list is of one class, as `car_train.txt` beside `train.txt`, with a second column."""
    _, _, split = path.stem.rpartition("_")
    if split == path.stem or split not in lists:
        return False
    with open_regular(path) as lines:
        return len(lines.readline(2**10).split()) > 1


def _split_folders(root: Path) -> tuple[dict[str, list[Item]], list[str]] | None:
    """Return the splits of folders called train, valid, test, ... with XML in them, if there are any."""
    folders = [
        path for path in sorted(root.iterdir()) if path.is_dir() and usual_name(path.name) in ("train", "val", "test")
    ]
    items = {folder.name: found for folder in folders if (found := _flat(folder, root))}
    return (items, []) if items else None


def _flat(folder: Path, root: Path) -> list[Item]:
    """Return every XML of a folder with the images beside it, or of annotations/ with those of images/."""
    images = _folder(folder, "jpegimages", "images")
    for place in filter(None, [folder, _folder(folder, "annotations", "xmls", "labels")]):
        files = sorted(place.glob("*.xml"))
        if files:
            for path in files:
                check_file_name(path.name, where=str(place))
            finder = ImageFinder(root, filter(None, [images, place, folder]))
            return [Item(path.stem, path, finder) for path in files]
    return []


def _folder(root: Path, *names: str) -> Path | None:
    """Return the first folder of `root` with one of these names, in any case."""
    children = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((children[name] for name in names if name in children), None)


# ---- one image


def make_records(
    items: list[Item], annotations: Mapping[Path, Annotation], *, root: Path, split: str
) -> tuple[list[Record], list[Fault]]:
    """Return the records of a split and everything wrong with them.

    Raises:
        DataError: the split is empty, has no annotation at all, or images of it are missing.
    """
    data = root.resolve().name
    if not any(item.xml in annotations for item in items):
        reason = f"none of its {len(items)} images has an XML file" if items else "its list is empty"
        raise DataError(f'{data}: the split "{split}" has no boxes: {reason}.', hint="Choose another split.")
    records, faults, missing = [], [], []
    for item in items:
        annotation = annotations.get(item.xml)
        if annotation is None:
            message = "is in the list but has no XML file; the image was left out"
            faults.append(Fault(kind="missing-annotation", where=item.name, message=message, drops=True))
            continue
        path = _find_image(item, annotation)
        if path is None:
            missing.append(item.name)
            continue
        width, height = image_size(path)
        boxes, wrong = fit_boxes(annotation.boxes, width=width, height=height)
        faults += size_fault(annotation.where, annotated=annotation.size, actual=(width, height)) + wrong
        records.append(Record(name=item.name, source=ImageFile(path), width=width, height=height, boxes=boxes))
    hint = "Add the images, or remove their names from the list."
    refuse_missing_images(missing, data=data, looked_in="the folder of the images and beside the XML", hint=hint)
    return records, faults


def _find_image(item: Item, annotation: Annotation) -> Path | None:
    return item.finder.by_stem(item.name, file_name=annotation.file_name, where=annotation.where)
