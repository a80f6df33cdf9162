"""Images whose files have the same bytes: copies of one photo, which a cut keeps in one part. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from smoothiou.data.faults import first_names
from smoothiou.data.listing import cached_by_file
from smoothiou.data.splits import photo
from smoothiou.errors import DataError
from smoothiou.files import file_digest
from smoothiou.words import counted

Locate = Callable[[], Path | None]


def group_copies(
    files: Mapping[str, Locate], *, group_of: Callable[[str], str] = photo
) -> tuple[Callable[[str], str], list[str]]:
    """Return the group of each image, for `seeded_cut`, and a note on files with the same bytes.

    Args:
        files: returns the path of each image's file, by the image's name.
        group_of: the group of a name; groups are joined where an image of one has the bytes of one of another.
    """
    groups = {name: group_of(name) for name in files}
    joined: dict[str, str] = {}

    def first_of(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    by_length: dict[int, list[tuple[str, Path]]] = {}
    for name, locate in files.items():
        if path := _located(locate):
            by_length.setdefault(path.stat().st_size, []).append((name, path))
    copies = []
    for candidates in (each for each in by_length.values() if len(each) > 1):
        known: dict[str, str] = {}
        for name, path in candidates:
            twin = known.setdefault(content_digest(path), name)
            one, other = sorted((first_of(groups[name]), first_of(groups[twin])))
            if one != other:
                joined[other] = one  # the first by name: a group is called the same in any order of the files
                copies.append(name)
    text = f"{counted(len(copies), 'copy', 'copies')} of other images by their bytes, on one side with them"
    return lambda name: first_of(groups[name]), [f"{text}: {first_names(sorted(copies))}"] if copies else []


def _located(locate: Locate) -> Path | None:
    try:
        path = locate()
    except DataError:  # its turn comes when the image is read
        return None
    return path if path and path.is_file() else None


content_digest = cached_by_file(2**17)(file_digest)
