"""A plain copy of an image: the same bytes where they are plain, else its pixels as RGB. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from PIL import Image

from smoothiou.data.doctor.checks_files import ENDINGS
from smoothiou.data.doctor.repair_boxes import Note
from smoothiou.data.formats.base import Entry
from smoothiou.data.image_finder import SUFFIXES
from smoothiou.data.images import read_image

PLAIN = ("RGB", "L")
"""Modes of images that are copied as they are."""


def copy_image(entry: Entry, folder: Path, *, turn: bool, taken: set[str], note: Note) -> str:
    """Write one image, and return its name in the folder: the same bytes, unless its pixels must change.

    Args:
        entry: the image.
        folder: of the copy.
        turn: whether its pixels are turned as EXIF says.
        taken: names of the other images in the folder, in small letters; its own is added.
        note: logs a change.
    """
    photo = entry.photo
    assert photo is not None
    assert photo.path is not None
    stem = PurePosixPath(entry.name.replace("\\", "/"))
    if stem.is_absolute() or ".." in stem.parts:  # records of one's own have any names, and the copy is in `folder`
        stem = PurePosixPath(stem.name)
    if stem.suffix.lower() in SUFFIXES:
        stem = stem.with_suffix("")
    marked = turn or photo.orientation != 1
    plain = photo.mode in PLAIN and not marked
    if not plain:
        suffix = ".jpg" if photo.kind in ("JPEG", "MPO") and photo.mode in PLAIN else ".png"
    elif (suffix := photo.path.suffix).lower() not in ENDINGS[photo.kind]:
        note(entry, "wrong-ending", f"{suffix} became {ENDINGS[photo.kind][0]}: it holds {photo.kind} data")
        suffix = ENDINGS[photo.kind][0]
    name, number = f"{stem}{suffix}", 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.casefold())
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if plain:
        shutil.copyfile(photo.path, path)
        return name
    if marked:
        what = "turned as EXIF says" if turn else "left as they are stored"
        note(entry, "exif-rotation", f"pixels {what}, and written without the mark as {suffix}")
    else:
        note(entry, "not-rgb", f"{photo.mode} ({photo.kind}) became RGB ({suffix})")
    pixels = _pixels(photo.path, turn=turn)
    pixels.save(path, quality=95, subsampling=0) if suffix == ".jpg" else pixels.save(path)
    return name


def _pixels(path: Path, *, turn: bool) -> Image.Image:
    pixels = read_image(path, upright=turn)
    clean = Image.new("RGB", pixels.size)
    clean.paste(pixels)  # without EXIF, palette and profile
    return clean
