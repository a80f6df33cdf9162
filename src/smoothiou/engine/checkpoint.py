"""Checkpoints: tensors and plain containers only, written whole or not at all, and the two newest of a run."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothiou.errors import CheckpointError
from smoothiou.files import first_line, refuse_bomb, short, write_bytes

FORMAT = 1
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
DAMAGED = ".damaged"


class DamagedCheckpoint(CheckpointError):
    """The bytes of a checkpoint are not those that were written."""


def save_checkpoint(path: str | Path, content: dict[str, Any], *, backup: Path | None = None) -> None:
    """Write a checkpoint atomically: after a crash, a power cut or on a full disk the one before is still there.

    Args:
        path: of the file.
        content: tensors and plain containers.
        backup: where in the same folder the one before goes; without it, it is gone.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    write_bytes(path, buffer.getvalue(), backup=backup)


def load_checkpoint(path: str | Path, *, needed: Sequence[str] = ("model",)) -> dict[str, Any]:
    """Read a checkpoint without running any code that may hide in it.

    Args:
        path: of the file.
        needed: keys that must be there; best.ckpt, for one, holds no optimizer.

    Raises:
        DamagedCheckpoint: the file is cut off, or a checksum says that it has changed.
        CheckpointError: the file is missing, of another format, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint.", hint="Train first, or name another run or file.")
    try:
        refuse_bomb(path)
        _require_whole(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on foreign pickles; what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}.", hint="Change its permissions.") from error
    except Exception as error:  # pickles and zip files of strangers make their readers raise anything
        reason = first_line(error)
        kind = DamagedCheckpoint
        if "weights_only" in reason or "Weights only" in reason:
            reason = "it holds Python objects, which may run code when read; only tensors and plain values are accepted"
            kind = CheckpointError
        if isinstance(error, MemoryError) or "allocate memory" in reason:
            kind = CheckpointError  # the memory is short, the file may be whole
        raise kind(
            f"{path}: not readable as a checkpoint ({reason[:160]}).",
            hint="Remove it to start from the beginning, or take another copy.",
        ) from error
    known = isinstance(content, dict) and type(content.get("format")) is int and content["format"] == FORMAT
    if not known or "model" not in content:
        got = type(content).__name__
        if isinstance(content, dict):
            got = short(content["format"]) if "format" in content else "none"
        raise CheckpointError(
            f"{path}: expected a smoothiou checkpoint of format {FORMAT}, got format {got}.",
            hint="Read it with the version of smoothiou that wrote it, or train anew with --overwrite.",
        )
    missing = [key for key in needed if key not in content]
    if missing:
        raise CheckpointError(f"{path}: holds no {', no '.join(missing)}.", hint="Is it another kind of checkpoint?")
    return content


def _require_whole(path: Path) -> None:
    """Compare every part of the file with its checksum (CRC-32 of each tensor), which torch itself does not do.

    Raises:
        BadZipFile: a part is missing or has changed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zlib.error, NotImplementedError, UnicodeDecodeError, struct.error) as error:  # a flipped bit in a header
        raise zipfile.BadZipFile(f"a header is damaged: {error}") from error
    except zipfile.BadZipFile as error:
        if "not a zip file" in str(error):
            raise zipfile.BadZipFile("it is cut off, or no file of PyTorch's") from error
        raise
    if wrong is not None:
        raise zipfile.BadZipFile(f"{wrong} does not match its checksum")


def load_newest(
    folder: Path, *, needed: Sequence[str] = ("model",), set_aside: bool = True
) -> tuple[dict[str, Any] | None, str]:
    """Return the newest whole checkpoint of a run folder, and a warning where that is not last.ckpt.

    Args:
        folder: of the run.
        needed: as for `load_checkpoint`.
        set_aside: whether to rename a damaged last.ckpt, where the one before is whole.

    Returns:
        None and "" where there is none.

    Raises:
        CheckpointError: all are damaged, or one is of another format; nothing is renamed or deleted.
    """
    damaged: list[tuple[Path, DamagedCheckpoint]] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            content = load_checkpoint(path, needed=needed)
        except DamagedCheckpoint as error:
            damaged.append((path, error))
            continue
        if not damaged:
            return content, ""
        aside = _set_aside(damaged[0][0]) if set_aside else damaged[0][0]
        message = damaged[0][1].message.removesuffix(".")
        return content, f"{message}; it is kept as {aside.name}, and {PREVIOUS}, the save before it, is used."
    if damaged:
        raise CheckpointError(
            " ".join(error.message for _, error in damaged),
            hint=f"Bring back a copy, or move {'them' if len(damaged) > 1 else 'it'} away to train from the beginning.",
        )
    return None, ""


def _set_aside(path: Path) -> Path:
    """Rename a file to `NAME.damaged`, or `NAME.damaged-2` where that is taken, and return its new path."""
    number, aside = 1, path.with_name(path.name + DAMAGED)
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{DAMAGED}-{number}")
    os.replace(path, aside)
    return aside


def restore_model(model: nn.Module, weights: dict[str, torch.Tensor], *, path: str | Path) -> None:
    """Load weights that must fit exactly; otherwise nothing is loaded.

    Raises:
        CheckpointError: a parameter is missing, unknown or of another shape; the first three are named.
    """
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(f"{path}: its model is no state dict.", hint="Take another copy of the file.")
    expected = model.state_dict()
    wrong = [f"{key} is missing" for key in expected if key not in weights]
    wrong += [f"{key} is unknown" for key in weights if key not in expected]
    wrong += [
        f"{key} is {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if wrong:
        more = f" (+{len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{path}: holds another model: {'; '.join(wrong[:3])}{more}.",
            hint="Check the model name and the number of classes of the run that wrote it.",
        )
    model.load_state_dict(weights)
