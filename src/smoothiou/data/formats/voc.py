"""PASCAL VOC: one XML file per image. No torch.

Layouts read, the first that fits:

    Annotations/ID.xml, JPEGImages/ID.*, ImageSets/Main/{train,val,test}.txt    the lists decide; an ID may have folders
    train/*.xml + images, val/ (or valid/) ..., test/ ...                       one folder per split
    annotations/train/*.xml + images/train/*, or train/*, ...                   the same
    annotations/*.xml + images/*, or XML files beside their images              cut by a seed (`Options.cut`)
    any folder of XML files + a folder of the images that they name             cut by a seed

Corners are 1-based and inclusive, so (xmin, ymin, xmax, ymax) becomes (xmin - 1, ymin - 1, xmax, ymax).
Reference: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010; development kit 2007.
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from smoothiou.data.faults import first_names, refuse_missing_images
from smoothiou.data.formats.base import Entry, Format, Options, Problems
from smoothiou.data.formats.voc_layout import (
    Item,
    Items,
    is_annotation,
    items_of_folder,
    items_of_lists,
    items_of_split_folders,
    refuse_mixed_years,
    xml_below,
)
from smoothiou.data.formats.voc_xml import Annotation, read_annotation
from smoothiou.data.listing import same_form
from smoothiou.data.splits import in_usual_order
from smoothiou.errors import DataError
from smoothiou.files import (
    real_path,
)
from smoothiou.words import counted

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


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
        """Return whether a folder has lists, splits or XML files where these usually are."""
        return path.is_dir() and bool(
            items_of_lists(path) or items_of_split_folders(path) or items_of_folder(path, path, anywhere=False)
        )

    @classmethod
    def fits_loosely(cls, path: Path) -> bool:
        """Return whether a folder, in no other format, has a folder of XML files under any name."""
        return path.is_dir() and bool(items_of_split_folders(path, anywhere=True) or items_of_folder(path, path))

    def find_items(self) -> Items:
        if lists := items_of_lists(self.path):
            items, notes = lists
            self.notes += notes
            return items
        # Folders of splits in a folder of any name: only where no XML is in a usual place, which they would replace.
        anywhere = not items_of_folder(self.path, self.path, anywhere=False)
        if splits := items_of_split_folders(self.path) or items_of_split_folders(self.path, anywhere=anywhere):
            self._note_unused([item for items in splits.values() for item in items])
            return splits
        self.cut = True
        items = items_of_folder(self.path, self.path)
        by_name = {item.name: item for item in items if os.path.isfile(item.xml)}
        for item in (item for item in items if item.name not in by_name):
            self.annotation(item)  # which names it
        if not self.problems.lenient:
            refuse_mixed_years(list(by_name), data=self.name)
        self.notes.append(f"split {self.options.cut} by seed {self.options.split_seed}: none is shipped")
        unused = self._note_unused(items)
        annotated = {same_form(Path(name).name) for name in (*by_name, *(path.stem for path in unused))}
        images = next(iter(by_name.values())).finder.stems() if by_name else set()
        if images - annotated:  # an XML file may be called otherwise than the image that it names
            named = (annotation.file_name for item in by_name.values() if (annotation := self.annotation(item)))
            annotated |= {same_form(PurePosixPath(name.replace("\\", "/")).stem) for name in named}
        unannotated = sorted(images - annotated)
        self.note_left_out(unannotated, "without XML left out")
        return self.cut_items(by_name)

    def _note_unused(self, items: list[Item]) -> list[Path]:
        """Note, and return, the XML files of PASCAL VOC in the data folder that no split has."""
        used = {real_path(item.xml) for item in items}
        unused = [path for path in xml_below(self.path) if real_path(path) not in used and is_annotation(path)]
        if unused:
            names = first_names([path.relative_to(self.path).as_posix() for path in unused])
            self.notes.append(f"{counted(len(unused), 'XML file')} in no split left out: {names}")
        return unused

    def cut_items(self, items: Mapping[str, Item]) -> Items:
        """Return these images cut by the seed."""
        files = {name: functools.partial(self._locate, item) for name, item in items.items()}
        return {part: [items[name] for name in names] for part, names in self.cut_by_seed(files).items()}

    def _locate(self, item: Item) -> Path | None:
        annotation = self.annotation(item)
        file_name = annotation.file_name if annotation else ""
        return item.finder.by_stem(item.name, file_name=file_name, where=self._where(item))

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
            annotation = None
            try:
                if os.path.isfile(item.xml):
                    annotation = read_annotation(item.xml, root=self.path)
                elif os.path.lexists(item.xml):
                    where = self._where(item)
                    raise DataError(f"{where}: expected an XML file, and it is none.", hint="Remove it.")
            except DataError as error:
                self.problems.report("unreadable-annotation", error, where=self._where(item))
            self._annotations[item.xml] = annotation
        return self._annotations[item.xml]

    def _where(self, item: Item) -> str:
        return item.xml.relative_to(self.path).as_posix()

    def _entry(self, item: Item, split: str) -> Entry:
        annotation, where = self.annotation(item), self._where(item)
        state = "read" if annotation else "broken" if os.path.isfile(item.xml) else "missing"
        return Entry(
            name=item.name,
            split=split,
            where=where,
            locate=functools.partial(self._locate, item),
            boxes=annotation.boxes if annotation else (),
            annotated=annotation.size if annotation else None,
            annotation=state,
        )
