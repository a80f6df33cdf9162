"""Files and folders of a folder, but for those that systems leave there; names in any form of Unicode. No torch."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Concatenate, ParamSpec, TypeVar

from smoothiou.errors import DataError

P = ParamSpec("P")
T = TypeVar("T")
_LEFTOVERS = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


def is_companion(name: str) -> bool:
    """Return whether a system, and no user, named a file or folder: `._a.jpg`, `.DS_Store`, `Thumbs.db`."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Return what in a folder has a name with one of these endings (given in small letters), sorted by name."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(endings) and not is_companion(name))
    return [folder / name for name in names]


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, links to folders too, sorted by name."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not is_companion(entry.name) and entry.is_dir())
    return [folder / name for name in names]


def folders_below(folder: Path) -> Iterator[Path]:
    """Yield a folder and all below it, sorted by name; links are followed, and no folder comes twice.

    Raises:
        OSError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    known = {os.path.realpath(folder)}
    for parent, inner, _ in os.walk(folder, followlinks=True, onerror=refuse):
        below = {name: os.path.realpath(os.path.join(parent, name)) for name in inner if not is_companion(name)}
        inner[:] = sorted(name for name, real in below.items() if real not in known)
        known.update(below.values())
        yield Path(parent)


def same_form(name: str) -> str:
    """Return a name in the form of Unicode in which names are compared, NFC; macOS stores accents as characters."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_file(folder: Path, name: str | PurePosixPath) -> Path | None:
    """Return the file with a name below a folder, or None; accents may be in another form of Unicode."""
    path = in_any_form(folder, name)
    return path if os.path.isfile(path) else None  # not is_file, which stops at a path that is too long


def in_any_form(folder: Path, name: str | PurePosixPath) -> Path:
    """Return the path of a file or folder below a folder, in the form of Unicode in which it exists, if it does."""
    path = folder / name
    if str(name).isascii() or os.path.exists(path):
        return path
    for part in PurePosixPath(name).parts:
        exact = folder / part
        folder = exact if os.path.lexists(exact) else folder / _names_by_form(folder).get(same_form(part), part)
    return folder


def cached_by_file(
    maxsize: int,
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[Path, P], T]]:
    """Return a decorator: what a function returns of a file, its path made absolute, is cached until the file changes.

    Raises:
        DataError: when it is called, there is no such file.
    """

    def decorate(function: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
        @functools.lru_cache(maxsize)
        def cached(path: Path, _modified: int, _size: int, *args: P.args, **options: P.kwargs) -> T:
            return function(path, *args, **options)

        @functools.wraps(function)
        def wrapper(path: Path, *args: P.args, **options: P.kwargs) -> T:
            try:
                stat = path.stat()
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
            return cached(path.absolute(), stat.st_mtime_ns, stat.st_size, *args, **options)

        return wrapper

    return decorate


def _names_by_form(folder: Path) -> dict[str, str]:
    try:
        return _read_names(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=256)
def _read_names(folder: Path, _modified: int) -> dict[str, str]:
    return {same_form(name): name for name in os.listdir(folder) if not name.isascii()}
