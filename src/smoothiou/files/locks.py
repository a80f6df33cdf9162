"""One process at a time in a folder: locks that end with their holder, however it ends. No torch."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smoothiou.errors import ConfigError
from smoothiou.files import sweep, unwritable

LOCK = ".lock"

INHERITED = "SMOOTHIOU_CLAIM"
"""Environment variable: the descriptor of a lock file that a process has been given by the one that started it."""

# Descriptors of the lock files that this process holds. The variable is taken out: it is not for our own children.
_held: set[int] = {int(os.environ.pop(INHERITED))} if os.environ.get(INHERITED, "").isdigit() else set()


@contextmanager
def hold(path: str | Path) -> Iterator[int | None]:
    """Hold a lock file while work is done; gives its file descriptor, or None when another process has it.

    The operating system releases a lock when its last holder ends, however it ends: nothing is left to clean up.
    Helper processes that are forked meanwhile do not hold it, so they cannot keep it longer than that.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, locked = _open_and_lock(path)
    except OSError as error:
        # Nobody has asked for a lock file: the folder it would stand in is what cannot be written.
        raise unwritable(path.parent, error) from error
    _held.add(handle)
    try:
        if locked:
            sign(handle, os.getpid())
        yield handle if locked else None
    finally:
        if handle in _held:  # in a forked child it is closed already
            _held.remove(handle)
            os.close(handle)


def _let_go() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def _open_and_lock(path: Path) -> tuple[int, bool]:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        locked = _lock(handle)
        try:
            same = os.path.samestat(os.fstat(handle), os.stat(path))
        except FileNotFoundError:
            same = False
        if same or not locked:
            return handle, locked
        os.close(handle)  # its last holder has deleted the file between our opening and our locking it


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: one process at a time is then up to the user
        return True
    return True


def sign(handle: int, process: int) -> None:
    """Write into a lock file who holds it, for the messages of others."""
    with suppress(OSError):  # a full disk is no reason not to begin
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{process} {platform.node()}\n".encode(), 0)


def holder(path: str | Path) -> str:
    """Return who holds a lock file, as "process 123 on machine", or "another process" where it does not say."""
    try:
        process, machine = Path(path).read_text().split()
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {machine}"


@contextmanager
def claim_folder(folder: Path, *, doing: str) -> Iterator[None]:
    """Keep other processes out of a folder while this one works in it, and sweep it.

    Args:
        folder: made if missing, and removed again where nothing was written.
        doing: what another process does where it has the folder, for the message: "is training here".

    Raises:
        ConfigError: the path is a file, or another process works there.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder, found a file.", hint="Choose another with --out.")
    new = not folder.exists()
    with hold(folder / LOCK) as claimed:
        if claimed is None:
            raise ConfigError(
                f"{folder}: another process {doing} ({holder(folder / LOCK)}).",
                hint="Wait for it or stop it, or choose another --out.",
            )
        try:
            sweep(folder)
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            if new and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
