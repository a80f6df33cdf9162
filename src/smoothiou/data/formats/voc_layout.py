"""Which XML files of a folder of PASCAL VOC belong to which split, and where the images of each are. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smoothiou.data.faults import first_names
from smoothiou.data.formats.voc_xml import read_annotation, xml_root
from smoothiou.data.image_finder import ImageFinder, check_file_name, list_images
from smoothiou.data.listing import files_in, find_file, folders_below, folders_in, same_form
from smoothiou.data.splits import read_list, usual_name
from smoothiou.errors import DataError
from smoothiou.files import (
    open_regular,
    refuse_links_out,
)
from smoothiou.words import counted

_XML_FOLDERS = ("annotations", "annotation", "annots", "anns", "xmls", "xml", "labels")
"""Usual names of the folder of XML files, in any case."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a split: its name, the path of its XML, and the finder of its image."""

    name: str
    xml: Path
    finder: ImageFinder


Items = dict[str, list[Item]]


def items_of_lists(root: Path) -> tuple[Items, list[str]] | None:
    """Return the splits of ImageSets/Main and notes, if there are any."""
    folder = root / "ImageSets"
    folder = (_folder(folder, "main") or folder) if folder.is_dir() else folder
    files = files_in(folder, ".txt") if folder.is_dir() else []
    lists = {path.stem: path for path in files}
    if len(lists) < len(files):
        raise DataError(f"{folder}: two lists of one split.", hint="Remove one of them.")
    xml_folder = (_folder(root, "annotations") or _xml_folder(root)) if lists else None
    if xml_folder is None:
        return None
    finder = _finder(root, xml_folder, root)

    xml_files: dict[str, list[Path]] = {}
    for path in xml_below(xml_folder):
        xml_files.setdefault(same_form(_name(path, xml_folder)), []).append(path)

    def xml_of(name: str) -> Path:
        files = xml_files.get(same_form(name), [xml_folder / f"{name}.xml"])
        if len(files) > 1:
            _refuse_two(*files)
        return files[0]

    def is_name(line: str) -> bool:
        if same_form(line) in xml_files:
            return True
        try:
            return xml_of(line).is_file() or finder.by_stem(line, file_name="", where=line) is not None
        except DataError:  # its turn comes when the image is read
            return True

    def without_folder(line: str) -> str:
        """Return what follows the folder of images or XML that some lists repeat: `Annotations/a.xml`."""
        first, *inner = PurePosixPath(line).parts or ("",)
        repeats = inner and first.lower() in (xml_folder.name.lower(), "jpegimages", "images")
        return str(PurePosixPath(*inner)) if repeats and not xml_of(line).is_file() else line

    def names_one(line: str) -> bool:
        return is_name(without_folder(line))

    items: Items = {}
    notes = []
    for split, path in lists.items():
        if _is_class_list(path, lists, names_one):
            continue
        names = read_list(refuse_links_out(path, root=root, where=path.name), names_one=names_one)
        unique = list(dict.fromkeys(map(without_folder, names)))
        if len(unique) < len(names):
            notes.append(f"{path.name} names {counted(len(names) - len(unique), 'image')} twice; each was read once")
        items[split] = [Item(name, xml_of(name), finder) for name in unique]
    return items, notes


def _name(xml: Path, folder: Path) -> str:
    """Return the name of an XML file's image: its own without the ending, below the folder of all."""
    return xml.relative_to(folder).with_suffix("").as_posix()


def _refuse_two(file: Path, other: Path, *_: Path) -> None:
    raise DataError(f"{file} and {other.name} are annotations of one image.", hint="Make one of them.")


def _is_class_list(path: Path, lists: Mapping[str, Path], names_one: Callable[[str], bool]) -> bool:
    """Return whether a list is of one class, as `car_train.txt` beside `train.txt`, with a second column."""
    _, _, split = path.stem.rpartition("_")
    if split == path.stem or split not in lists:
        return False
    with open_regular(path) as lines:
        first = lines.readline(2**10).decode("utf-8-sig", "replace").strip()
    return len(first.split()) > 1 and not names_one(first)


def items_of_split_folders(root: Path, *, anywhere: bool = False) -> Items:
    """Return the splits of folders called train, valid, test, ... with XML in them, or of those in annotations/.

    Args:
        root: the data folder.
        anywhere: whether the folder above those of the XML may have any name.
    """
    splits = {folder.name: items_of_folder(folder, root) for folder in _named_like_splits(root)}
    others = [folder for folder in folders_in(root) if anywhere and folder.name not in splits]
    others = [folder for folder in others if any(map(xml_below, _named_like_splits(folder)))]
    if len(others) > 1:  # two data sets, of which neither is meant
        others = []
    parents = list(dict.fromkeys((*_usual_xml_folders(root), *others)))

    def add(folder: Path, files: list[Path]) -> None:
        if files and not splits.get(folder.name):
            splits[folder.name] = _items(folder, files, _finder(root, folder, root, split=folder.name))

    for folder in (folder for parent in parents for folder in _named_like_splits(parent)):
        add(folder, _unless_foreign(xml_below(folder)))
    if any(splits.values()):  # a split of broken files alone is still one, and its files are named when they are read
        for folder in (folder for parent in (root, *parents) for folder in _named_like_splits(parent)):
            add(folder, [path for path in xml_below(folder) if not xml_root(path)])
    return {split: items for split, items in splits.items() if items}


def _named_like_splits(folder: Path) -> list[Path]:
    return [inner for inner in folders_in(folder) if usual_name(inner.name) in ("train", "val", "test")]


def _usual_xml_folders(folder: Path) -> Iterator[Path]:
    return filter(None, (_folder(folder, name) for name in _XML_FOLDERS))


def items_of_folder(folder: Path, root: Path, *, anywhere: bool = True) -> list[Item]:
    """Return every XML of a folder, or of one folder in it, with its images.

    Args:
        folder: that holds both.
        root: the data folder.
        anywhere: whether the folder of the XML may have any name.
    """
    if files := _unless_foreign(files_in(folder, ".xml")):
        return _items(folder, files, _finder(root, folder, folder))
    xml_folder = _xml_folder(folder, anywhere=anywhere)
    files = _unless_foreign(xml_below(xml_folder)) if xml_folder else []
    return _items(xml_folder, files, _finder(root, xml_folder, folder)) if xml_folder and files else []


def _unless_foreign(files: list[Path]) -> list[Path]:
    """Return these XML files, or none of them where the root of each is that of something else.

    A project file beside COCO's or YOLO's data makes no VOC of it; one among annotations is named when it is read.
    """
    return files if any(map(is_annotation, files)) else []


def is_annotation(file: Path) -> bool:
    """Return whether a file is VOC's by its root, or where it is broken by its first words."""
    if root := xml_root(file):
        return root == "annotation"
    try:
        with open_regular(file) as content:
            return re.search(rb"<([\w.-]+:)?annotation\b", content.read(2**12), re.IGNORECASE) is not None
    except (DataError, OSError):  # its turn comes when it is read
        return True


def _items(xml_folder: Path, files: list[Path], finder: ImageFinder) -> list[Item]:
    items: dict[str, Item] = {}
    for path in files:
        check_file_name(path.name, where=str(path.parent))
        name = _name(path, xml_folder)
        if name in items:
            _refuse_two(items[name].xml, path)
        items[name] = Item(name, path, finder)
    return list(items.values())


def _xml_folder(folder: Path, *, anywhere: bool = True) -> Path | None:
    """Return the folder in a folder that holds its XML files: one of a usual name, or the only one that has any."""
    for inner in _usual_xml_folders(folder):
        if deepest := _deepest_with_all_xml(inner):
            return deepest
    others = {os.path.realpath(inner): inner for inner in folders_in(folder) if anywhere and files_in(inner, ".xml")}
    return next(iter(others.values())) if len(others) == 1 else None


def _deepest_with_all_xml(folder: Path) -> Path | None:
    """Return the folder itself if it or several folders in it hold XML files, or the only one in it that does."""
    if files_in(folder, ".xml"):
        return folder
    real = folder.resolve()
    inner = [each for each in folders_in(folder) if not real.is_relative_to(each.resolve()) and xml_below(each)]
    return _deepest_with_all_xml(inner[0]) if len(inner) == 1 else folder if inner else None


def xml_below(folder: Path) -> list[Path]:
    """Return the XML files in a folder and in all folders below it, each folder once, however links lead to it."""
    return [file for inner in folders_below(folder) for file in files_in(inner, ".xml")]


def _finder(root: Path, xml_folder: Path, folder: Path, *, split: str = "") -> ImageFinder:
    """Return the finder of the images of some XML files.

    Args:
        root: the data folder.
        xml_folder: the folder of the XML files.
        folder: that holds the folders of XML files and of images.
        split: after which folders of images may be called.
    """
    images = _folder(folder, "jpegimages", "images")
    of_split = [named for parent in (images, folder) if parent and split for named in _called(split, parent)]
    of_split += filter(None, [_folder(named, "jpegimages", "images") for named in of_split])
    candidates = [*of_split, images, xml_folder, folder]
    peers: list[Path] = []
    names = {same_form(path.stem) for path in xml_below(xml_folder)}
    beside = (image for inner in (*of_split, xml_folder, folder) for image in list_images(inner))
    if not images and not any(same_form(image.stem) in names for image in beside):
        # In folders of any names; but photos of another split may be called the same.
        others = [named for named in _named_like_splits(folder) if split and named not in of_split]
        inside = [inner for parent in folders_in(folder) if split for inner in _called(split, parent)]
        peers = _named_by_xml(xml_folder, [*inside, *(inner for inner in folders_in(folder) if inner not in others)])
    return ImageFinder(root, [*filter(None, candidates), *peers], peers=peers)


def _called(split: str, parent: Path) -> list[Path]:
    """Return the folder called like a split, or else those called by a synonym: `val` of `valid`."""
    folders = [folder for folder in folders_in(parent) if usual_name(folder.name) == usual_name(split)]
    return [folder for folder in folders if folder.name == split] or folders


def _named_by_xml(xml_folder: Path, folders: list[Path]) -> list[Path]:
    """Return the folders that hold the image which the first XML file names, or else the only folder of images."""
    with_images = [folder for folder in folders if folder != xml_folder and list_images(folder)]
    try:
        name = read_annotation(xml_below(xml_folder)[0], root=xml_folder).file_name
    except (DataError, IndexError):
        name = ""
    return [f for f in with_images if name and find_file(f, name)] or (with_images if len(with_images) == 1 else [])


def _folder(root: Path, *names: str) -> Path | None:
    """Return the first folder of `root` with one of these names, in any case."""
    children = {path.name.lower(): path for path in folders_in(root)}
    return next((children[name] for name in names if name in children), None)


def refuse_mixed_years(names: list[str], *, data: str) -> None:
    """Stop where both years are mixed without a list: VOC 2012 carries images of VOC 2007 for segmentation."""
    old = [name for name in names if re.fullmatch(r"2007_\d{6}", name)]
    if old and any(re.fullmatch(r"20(08|09|10|11)_\d{6}", name) for name in names):
        raise DataError(
            f"{data}: VOC 2012 without its lists: {first_names(old)} are images of VOC 2007 that it carries for "
            "segmentation, some of them of VOC 2007's val and test.",
            hint="Add its ImageSets/Main, which names the images of each split.",
        )
