"""What a machine has to offer a study. Sent to machines that may lack smoothiou, so it needs Python alone."""

import hashlib
import importlib.util
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

SAME = ("python", "smoothiou", "source", "torch", "torchvision")
"""Facts that must be as on the machine of the command: else cells would be of different experiments."""


def facts(needed: tuple[str, ...], mark: tuple[str, str], folder: str) -> dict[str, Any]:
    """Return what can be said about this machine without importing anything large.

    Args:
        needed: files and folders that cells will read, absolute or from `folder`.
        mark: a file of the study and its content; an empty path where no folder is shared.
        folder: in which the command was given.

    Returns:
        "machine" (its name), the facts of `SAME` ("source" is a hash of smoothiou's code), "missing" (of
        `needed`, those that are not there), "shared" (whether the study's folder is seen from here).
    """
    missing = [path for path in needed if not os.path.exists(os.path.join(folder, os.path.expanduser(path)))]
    versions = {name: _version(name) for name in ("smoothiou", "torch", "torchvision")}
    return {
        "machine": platform.node(),
        "python": platform.python_version(),
        **versions,
        "source": _source(),
        "missing": missing,
        "shared": sees(mark),
    }


def sees(mark: tuple[str, str]) -> bool:
    """Return whether a file is there and holds what it should."""
    path, content = mark
    try:
        return bool(path) and Path(path).read_text() == content
    except (OSError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _source() -> str:
    """Return a short hash of smoothiou's code: an editable install has one version and many states."""
    found = importlib.util.find_spec("smoothiou")
    if found is None or not found.origin:
        return "not installed"
    home = Path(found.origin).parent
    sums = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        sums.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes())
    return sums.hexdigest()[:12]
