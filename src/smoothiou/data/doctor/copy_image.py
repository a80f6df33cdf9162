"""A plain copy of an image: the same bytes where they are plain, else its pixels as RGB. No torch."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from smoothiou.data.doctor.changes import Log
from smoothiou.data.doctor.facts import Entry
from smoothiou.data.doctor.photos import ENDINGS
from smoothiou.data.images import SUFFIXES, known_types, read_image

PLAIN = ("RGB", "L")
"""Modes of images that are copied as they are."""


def copy_image(entry: Entry, folder: Path, *, turn: bool, taken: set[str], log: Log) -> str:
    """Write one image, and return its name in the folder: the same bytes, unless its pixels must change."""
    shot = entry.photo
    assert shot is not None
    assert shot.path is not None
    stem = PurePosixPath(entry.name.replace("\\", "/"))
    if stem.suffix.lower() in SUFFIXES:
        stem = stem.with_suffix("")
    turned = turn or shot.orientation != 1
    plain = shot.mode in PLAIN and not turned
    suffix = shot.path.suffix if plain else (".jpg" if shot.kind in ("JPEG", "MPO") and shot.mode in PLAIN else ".png")
    if plain and suffix.lower() not in ENDINGS[shot.kind]:
        log.add(entry, "wrong-ending", f"{suffix} became {ENDINGS[shot.kind][0]}: it holds {shot.kind} data")
        suffix = ENDINGS[shot.kind][0]
    name = _free(f"{stem}", suffix, taken)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if plain:
        shutil.copyfile(shot.path, path)
        return name
    if turned:
        what = "turned as EXIF says" if turn else "kept as they are stored"
        log.add(entry, "exif-rotation", f"pixels {what}, and written without the mark as {suffix}")
    else:
        log.add(entry, "not-rgb", f"{shot.mode} ({shot.kind}) became RGB ({suffix})")
    if suffix == ".jpg":
        _pixels(shot.path, turn=turn).save(path, quality=95, subsampling=0)
    else:
        _pixels(shot.path, turn=turn).save(path)
    return name


def _pixels(path: Path, *, turn: bool) -> Image.Image:
    pixels = read_image(path)
    if not turn:
        clean = Image.new("RGB", pixels.size)
        clean.paste(pixels)  # without EXIF, palette and profile
        return clean
    with Image.open(path, formats=known_types()) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _free(stem: str, suffix: str, taken: set[str]) -> str:
    """Return a name that no other image of the split has, in any case of letters."""
    name, number = f"{stem}{suffix}", 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.casefold())
    return name
