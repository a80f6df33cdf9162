"""Results that are computed once: kept in a folder that is named after their configuration, and read back after."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smoothiou.errors import DataError
from smoothiou.files import (
    digest,
    file_digest,
    read_json,
    write_bytes,
    write_json,
)
from smoothiou.loss_spec import parse_loss
from smoothiou.manifest import environment, version

SOURCE = Path(__file__).resolve().parents[1]
LOSSES = ("boxes/*.py", "losses/*.py")
"""Source of every loss of the shelf, as patterns."""
RESULT, ARRAYS = "result.json", "arrays.npz"

Computed = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished result.

    Args:
        folder: where its files lie.
        result: content of its result.json.
        fresh: whether it was computed just now.
    """

    folder: Path
    result: dict[str, Any]
    fresh: bool


def keep(root: Path, config: Mapping[str, Any], compute: Callable[[], Computed], *, code: Sequence[str]) -> Kept:
    """Return a result from its folder, or compute it and leave it there.

    The folder's name is a hash of the configuration, of smoothiou's version and of the source that computes: a
    result is never one of another loss, seed or program. result.json is written last, so a folder that has one is
    complete.

    Args:
        root: folder of all results.
        config: everything the result depends on, with the keys `kind` and `loss`.
        compute: gives a JSON-like result and arrays.
        code: the files that compute it, as patterns relative to the package.
    """
    name, _ = parse_loss(config["loss"])
    identity = {**config, "smoothiou": version(), "code": _source_digest(tuple(code)), "own": _own_digest(name)}
    slug = "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in config["loss"]).strip("-")
    folder = root / f"{config['kind']}-{slug}-{digest(identity)}"
    found = find(folder)
    if found is not None:
        return Kept(folder, found, fresh=False)
    result, arrays = compute()
    result = {**identity, **result, "environment": environment()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(folder / ARRAYS, buffer.getvalue())
    write_json(folder / RESULT, result)
    return Kept(folder, read_json(folder / RESULT), fresh=True)


def find(folder: Path) -> dict[str, Any] | None:
    """Return the result that lies in a folder; None where there is none, or only a broken one."""
    try:
        found = read_json(folder / RESULT)
    except DataError:
        return None
    return found if isinstance(found, dict) and (folder / ARRAYS).is_file() else None


@functools.cache
def _source_digest(patterns: tuple[str, ...]) -> str:
    """Return a hash of source files, taken once: later edits are not what this process runs."""
    files = sorted(path for pattern in patterns for path in SOURCE.glob(pattern))
    return digest([file_digest(path) for path in files])


def _own_digest(name: str) -> str:
    """Return a hash of the file that holds a user's own loss; empty for a loss of the shelf."""
    module, colon, _ = name.partition(":")
    spec = importlib.util.find_spec(module) if colon else None
    return file_digest(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else ""
