"""PASCAL VOC: one XML file per image. No torch.

Layouts read, the first that fits:

    Annotations/ID.xml, JPEGImages/ID.*, ImageSets/Main/{train,val,test}.txt    the lists decide
    train/*.xml + images, val/ (or valid/) ..., test/ ...                       one folder per split
    annotations/*.xml + images/*, or XML files beside their images              cut by a seed (`Options.cut`)

Corners are 1-based and inclusive, so (xmin, ymin, xmax, ymax) becomes (xmin - 1, ymin - 1, xmax, ymax).
Reference: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010; development kit 2007.
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from smoothiou.data.copies import group_copies
from smoothiou.data.faults import first_names, refuse_missing_images
from smoothiou.data.formats.base import Entry, Format, Options, Problems
from smoothiou.data.images import ImageFinder, check_file_name
from smoothiou.data.records import Box
from smoothiou.data.splits import CUT_SHARES, in_usual_order, read_list, seeded_cut, usual_name
from smoothiou.errors import DataError
from smoothiou.files import check_word, open_regular, read_bytes, refuse_links_out, short

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
MAX_BYTES = 2**24
"""Of an XML file; the largest of PASCAL's has 20 kB."""
MAX_SIDE = 2**31
"""Pixels of a side in an annotation; no image has more."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One XML file: boxes as annotated but 0-based with an open end, not yet compared with the image."""

    where: str
    boxes: tuple[Box, ...]
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a split: its name, the path of its XML, and the finder of its image."""

    name: str
    xml: Path
    finder: ImageFinder


Items = dict[str, list[Item]]


class Voc(Format):
    """A folder of PASCAL VOC, whose XML files are each parsed once."""

    format = "voc"
    layout = "ImageSets/Main/*.txt with Annotations/*.xml, or XML files beside images or in annotations/"
    images_in = "the folder of the images and beside the XML"

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        super().__init__(path, options, problems)
        self._annotations: dict[Path, Annotation | None] = {}
        self.cut = False
        self.items = self.find_items()
        self.splits = in_usual_order(self.items)

    @classmethod
    def fits(cls, path: Path) -> bool:
        return path.is_dir() and bool(_listed(path) or _split_folders(path) or _flat(path, path))

    def find_items(self) -> Items:
        if listed := _listed(self.path):
            items, notes = listed
            self.notes += notes
            return items
        if folders := _split_folders(self.path):
            return folders
        self.cut = True
        items = [item for item in _flat(self.path, self.path) if os.path.isfile(item.xml)]
        by_name = {item.name: item for item in items}
        if not self.problems.lenient:
            _refuse_voc_without_lists(list(by_name), data=self.name)
        seed, cut = self.options.split_seed, self.options.cut
        self.notes.append(f"split {cut} by seed {seed}: none is shipped")
        unannotated = sorted(items[0].finder.stems() - by_name.keys()) if items else []
        self.note_left_out(unannotated, "without XML left out")
        return self.cut_items(by_name)

    def cut_items(self, items: Mapping[str, Item]) -> Items:
        """Return these images cut by the seed, with copies of one photo in one part."""
        files = {stem: functools.partial(i.finder.by_stem, stem, file_name="", where=stem) for stem, i in items.items()}
        group, notes = group_copies(files)
        self.notes += notes
        shares = CUT_SHARES[self.options.cut]
        parts = seeded_cut(items, seed=self.options.split_seed, shares=shares, together=group)
        return {name: [items[stem] for stem in stems] for name, stems in parts.items()}

    def files_splits(self) -> tuple[str, ...]:
        return tuple(self.items)

    def has_boxes(self, split: str) -> bool:
        self.refuse_incomplete()
        return any((annotation := self.annotation(item)) and annotation.boxes for item in self.items[split])

    def entries(self, split: str) -> list[Entry]:
        return [self._entry(item, split) for item in self.items[split]]

    def refuse_incomplete(self) -> None:
        if self.cut:
            missing = [e.name for part in self.items for e in self.entries(part) if e.locate() is None]
            refuse_missing_images(sorted(missing), data=self.name, looked_in=self.images_in)

    def labels(self, split: str) -> dict[str, set[str]]:
        return {
            part: {box.label for item in items if (a := self.annotation(item)) for box in a.boxes}
            for part, items in self.items.items()
        }

    def classes(self) -> tuple[str, ...]:
        """Return VOC's own order where all names are VOC's, else by name.

        All 20 classes are kept where the folder has VOC's lists, so that two years, or two samples of one, have the
        same numbers for the same classes.
        """
        labels = set().union(*self.labels("").values())
        if labels <= set(CLASSES):
            return tuple(name for name in CLASSES if self._is_official or name in labels)
        return tuple(sorted(labels))

    def listed_classes(self) -> tuple[str, ...]:
        labels = set().union(*self.labels("").values())
        return CLASSES if self._is_official and labels and labels <= set(CLASSES) else ()

    @property
    def _is_official(self) -> bool:
        return (self.path / "ImageSets" / "Main").is_dir()

    def annotation(self, item: Item) -> Annotation | None:
        """Return the content of an image's XML file; None if it is missing or broken."""
        if item.xml not in self._annotations:
            self._annotations[item.xml] = None
            if os.path.isfile(item.xml):
                try:
                    self._annotations[item.xml] = read_annotation(item.xml, root=self.path)
                except DataError as error:
                    self.problems.report("unreadable-annotation", error, where=self._where(item))
        return self._annotations[item.xml]

    def _where(self, item: Item) -> str:
        return item.xml.relative_to(self.path).as_posix()

    def _entry(self, item: Item, split: str) -> Entry:
        annotation, where = self.annotation(item), self._where(item)
        file_name = annotation.file_name if annotation else ""
        locate = functools.partial(item.finder.by_stem, item.name, file_name=file_name, where=where)
        if annotation is None:
            state = "broken" if os.path.isfile(item.xml) else "missing"
            return Entry(name=item.name, split=split, where=where, locate=locate, annotation=state)
        boxes, size = annotation.boxes, annotation.size
        return Entry(name=item.name, split=split, where=where, locate=locate, boxes=boxes, annotated=size)


# ---- which images belong to which split


def _listed(root: Path) -> tuple[Items, list[str]] | None:
    """Return the splits of ImageSets/Main and notes, if there are any."""
    annotations = _folder(root, "annotations")
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    if not annotations or not lists:
        return None
    finder = ImageFinder(root, filter(None, [_folder(root, "jpegimages", "images"), annotations, root]))
    items: Items = {}
    notes = []
    for name, path in lists.items():
        if _is_class_list(path, lists):
            continue
        names = read_list(refuse_links_out(path, root=root, where=path.name))
        unique = list(dict.fromkeys(names))
        if len(unique) < len(names):
            notes.append(f"{path.name} names {len(names) - len(unique)} images twice; each was read once")
        items[name] = [Item(stem, annotations / f"{stem}.xml", finder) for stem in unique]
    return items, notes


def _is_class_list(path: Path, lists: Mapping[str, Path]) -> bool:
    """Return whether a list is of one class, as `car_train.txt` beside `train.txt`, with a second column."""
    _, _, split = path.stem.rpartition("_")
    if split == path.stem or split not in lists:
        return False
    with open_regular(path) as lines:
        return len(lines.readline(2**10).split()) > 1


def _split_folders(root: Path) -> Items:
    """Return the splits of folders called train, valid, test, ... with XML in them."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()]
    usual = [path for path in folders if usual_name(path.name) in ("train", "val", "test")]
    return {folder.name: items for folder in usual if (items := _flat(folder, root))}


def _flat(folder: Path, root: Path) -> list[Item]:
    """Return every XML of a folder with the images beside it, or of annotations/ with those of images/."""
    images = _folder(folder, "jpegimages", "images")
    for parent in filter(None, [folder, _folder(folder, "annotations", "xmls", "labels")]):
        if files := sorted(parent.glob("*.xml")):
            for path in files:
                check_file_name(path.name, where=str(parent))
            finder = ImageFinder(root, filter(None, [images, parent, folder]))
            return [Item(path.stem, path, finder) for path in files]
    return []


def _folder(root: Path, *names: str) -> Path | None:
    """Return the first folder of `root` with one of these names, in any case."""
    children = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((children[name] for name in names if name in children), None)


def _refuse_voc_without_lists(names: list[str], *, data: str) -> None:
    """Stop where both years are mixed without a list: VOC 2012 carries images of VOC 2007 for segmentation."""
    old = [name for name in names if re.fullmatch(r"2007_\d{6}", name)]
    if old and any(re.fullmatch(r"20(08|09|10|11)_\d{6}", name) for name in names):
        raise DataError(
            f"{data}: VOC 2012 without its lists: {first_names(old)} are images of VOC 2007 that it carries for "
            "segmentation, some of them of VOC 2007's val and test.",
            hint="Add its ImageSets/Main, which names the images of each split.",
        )


# ---- one file


def read_annotation(path: Path, *, root: Path) -> Annotation:
    """Return the objects of one XML file; parts nested in an object are no objects.

    Raises:
        DataError: not XML, reached through a link that leads out of the data folder, or an object without a name or
            without four numbers; with file and line or object.
    """
    where = path.relative_to(root).as_posix()
    refuse_links_out(path, root=root, where=where)
    try:
        tree = defusedxml.ElementTree.fromstring(read_bytes(path, most=MAX_BYTES))
    except ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not well-formed XML: {error}.", hint="Repair it.") from None
    except defusedxml.DefusedXmlException:
        raise DataError(f"{path}: the XML declares entities, which are not read.", hint="Remove its DOCTYPE.") from None
    except (OSError, ValueError, LookupError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read as XML: {reason}.") from None
    file_name = (tree.findtext("filename") or "").strip()
    if file_name:
        check_file_name(file_name, where=str(path))
    boxes = [_read_object(node, f"{where}: object {number}") for number, node in enumerate(tree.findall("object"), 1)]
    return Annotation(where, tuple(boxes), file_name, _read_size(tree))


def _read_object(node: Element, where: str) -> Box:
    label = (node.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{where} has no name.", hint="Write its class into <name>.")
    check_word(label, what="class", where=where)
    corners = []
    # By name: the order of the four tags differs between tools and years.
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = node.findtext(f"bndbox/{tag}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            raise DataError(
                f"{where} ({label}): <{tag}> must be a number, got {short(text)}.", hint="Repair it."
            ) from None
    xmin, ymin, xmax, ymax = corners
    difficult = (node.findtext("difficult") or "").strip().lower() in ("1", "true", "yes")
    return Box(xyxy=(xmin - 1, ymin - 1, xmax, ymax), label=label, difficult=difficult, where=where)


def _read_size(tree: Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(tree.findtext(f"size/{side}") or "")) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return min(max(width, -1), MAX_SIDE), min(max(height, -1), MAX_SIDE)
