"""What lies in a folder, without what systems leave there, and found whichever form of Unicode names have. No torch."""

from __future__ import annotations

import functools
import os
import unicodedata
from pathlib import Path, PurePosixPath

_LEFTOVERS = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


def is_companion(name: str) -> bool:
    """Return whether a system, and no user, named a file or folder: `._a.jpg`, `.DS_Store`, `Thumbs.db`."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Return what in a folder is named with one of some endings (in small letters), in any case, by name."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(endings) and not is_companion(name))
    return [folder / name for name in names]


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, and links to some, by name."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not is_companion(entry.name) and entry.is_dir())
    return [folder / name for name in names]


def same_form(name: str) -> str:
    """Return a name in the one form (NFC) in which names are compared: macOS writes accents as letters of their own."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_file(folder: Path, name: str | PurePosixPath) -> Path | None:
    """Return the file of a name below a folder, also where one of the two has accents in another form; else None."""
    path = folder / name
    if os.path.isfile(path):  # not is_file, which stops at a path that is too long
        return path
    if str(name).isascii():
        return None
    for part in PurePosixPath(name).parts:
        exact = folder / part
        folder = exact if os.path.lexists(exact) else folder / _names_by_form(folder).get(same_form(part), part)
    return folder if os.path.isfile(folder) else None


def _names_by_form(folder: Path) -> dict[str, str]:
    try:
        return _read_names(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=256)
def _read_names(folder: Path, _modified: int) -> dict[str, str]:
    return {same_form(name): name for name in os.listdir(folder) if not name.isascii()}
