"""One process at a time in a folder: a lock that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smoothiou.errors import ConfigError
from smoothiou.files.atomic import sweep, unwritable

LOCK = ".lock"

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of a file system without locks, where it is up to the user that one process at a time works in a folder."""


class LockedError(ConfigError):
    """Another process works in the folder."""


@contextmanager
def lock_folder(folder: str | Path, *, doing: str = "works here") -> Iterator[None]:
    """Keep other processes out of a folder, and remove the unfinished files that killed ones have left in it.

    Processes that are forked meanwhile do not inherit the lock.

    Args:
        folder: made if missing, and removed again where nothing was written.
        doing: what another process does where it holds the lock, for the message.

    Raises:
        LockedError: another process holds the lock; the message names it.
        ConfigError: the path is a file.
        SmoothIoUError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # it takes 0.2 s, which `--help` does not need

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder, found a file.", hint="Choose another with --out.")
    path, new = folder / LOCK, not folder.exists()
    lock = FileLock(path, blocking=False, on_acquired=_write_holder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"{folder}: another process {doing} ({holder(path)}).",
            hint="Wait for it or stop it, or choose another --out.",
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise unwritable(folder, error) from error
    try:
        sweep(folder)
        yield
    finally:
        # Before the release: a process that waits for the deleted file opens a new one. Windows keeps an open file.
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
        lock.release()
        if new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())
    os.lseek(descriptor, 0, os.SEEK_SET)  # Windows locks and unlocks the byte at the position


def holder(path: str | Path) -> str:
    """Return who holds a lock file, as "process 123 on machine", or "another process" where the file does not say."""
    try:
        process, machine = Path(path).read_text().split()
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {machine}"
