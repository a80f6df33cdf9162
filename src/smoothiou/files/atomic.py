"""Atomic writes and strict JSON: a crash leaves the old file or the new one, never a part."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smoothiou.errors import DataError, SmoothIoUError
from smoothiou.files.untrusted import read_bytes, reason_of

MAX_JSON = 2**31
"""Bytes of a JSON file."""


def write_bytes(path: str | Path, content: bytes, *, backup: Path | None = None) -> None:
    """Write a file so that a crash, a full disk or a power cut leaves the old content or the new, never a part.

    Args:
        path: of the file.
        content: all of it.
        backup: where in the same folder the old file goes; without it, it is gone.

    Raises:
        SmoothIoUError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    path = Path(path)
    parts: list[str] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.", suffix=PART)
        parts.append(temporary)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if backup is not None and path.exists():
            parts.append(f"{temporary.removesuffix(PART)}.kept{PART}")
            _move_to_backup(path, backup, link=parts[-1])
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:  # an interrupt, too, leaves nothing behind; after a kill `sweep` does this
        for part in parts:
            Path(part).unlink(missing_ok=True)


PART = ".part"


def _move_to_backup(path: Path, backup: Path, *, link: str) -> None:
    """Give a file a second name, so that it has its first one until the new file takes it over."""
    try:
        os.link(path, link)
    except OSError:  # a file system without links: for a moment there is only `backup`
        os.replace(path, backup)
    else:
        os.replace(link, backup)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, without which a power cut could undo a rename."""
    with suppress(OSError):  # some network file systems do this by themselves and know no such request
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


WINDOWS = os.name == "nt"
DAY = 24 * 60 * 60


def sweep(folder: Path) -> None:
    """Remove the unfinished files that killed processes have left in a folder; those of running ones stay.

    On Windows, where Python cannot ask whether a process runs, those that are younger than a day stay.
    """
    for path in folder.glob(f".*{PART}"):
        match = re.search(r"\.(\d+)\.[^.]+(\.kept)?\.part$", path.name)
        if match is None:
            continue
        process = int(match[1])
        if process == os.getpid() or not (_is_young(path) if WINDOWS else _is_running(process)):
            path.unlink(missing_ok=True)


def _is_young(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < DAY
    except OSError:  # it has just become the file that it was to be
        return True


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable(path: str | Path, error: OSError) -> SmoothIoUError:
    """Turn a failed write into one sentence with a way out: room on the disk where it is short, else another place.

    Args:
        path: of the file, as its user knows it; what it held before is untouched.
        error: of the system.
    """
    path, reason = Path(path), reason_of(error)
    if error.errno not in NO_ROOM:
        return SmoothIoUError(f"{path}: cannot be written: {reason}.", hint="Choose another place for it.")
    folder = next((p for p in [path, *path.parents] if p.is_dir()), None)
    free = f" ({shutil.disk_usage(folder).free / 1e6:.0f} MB free there)" if folder else ""
    before = "; the file before it is untouched" if path.is_file() else ""
    return SmoothIoUError(
        f"{path}: cannot be written: {reason}{free}{before}.",
        hint="Free some space or choose another place for it, then give the same command again.",
    )


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text atomically (see `write_bytes`); bytes of file names that are no UTF-8 are spelt out."""
    write_bytes(path, content.encode(errors="backslashreplace"))


def write_json(path: str | Path, content: Any) -> None:
    """Write strict JSON atomically: NaN and infinity, which JSON does not know, become null."""
    write_text(path, json.dumps(finite(content), indent=1, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Return JSON-like content with None in place of NaN and infinity."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def read_json(path: str | Path) -> Any:
    """Read JSON, with one sentence for a file that is missing or broken."""
    try:
        return json.loads(read_bytes(path, most=MAX_JSON))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON: {reason_of(error)}.") from None


def digest(content: Any) -> str:
    """Return a short stable hash of any JSON-like content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Return a short hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
