"""Checkpoints: tensors and plain containers only, written whole or not at all."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothiou.errors import CheckpointError
from smoothiou.runs import write_bytes

FORMAT = 1


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically: after a crash or on a full disk the one before is still there."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path, *, needed: Sequence[str] = ("model",)) -> dict[str, Any]:
    """Read a checkpoint without running any code that may hide in it.

    Args:
        path: of the file.
        needed: keys that must be there; best.ckpt, for one, holds no optimizer.

    Raises:
        CheckpointError: the file is missing, cut off, of another format, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint.", hint="Train first, or name another run or file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on foreign pickles; what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "weights_only" in reason or "Weights only" in reason:
            reason = "it holds Python objects, which may run code when read; only tensors and plain values are accepted"
        if "zip archive" in reason or isinstance(error, EOFError):
            reason = "it is cut off, or no file of PyTorch's"
        raise CheckpointError(
            f"{path}: not readable as a checkpoint ({reason[:160]}).",
            hint="Remove it to start from the beginning, or take another copy.",
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "model" not in content:
        found = content.get("format", "none") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: expected a smoothiou checkpoint of format {FORMAT}, got format {found}.")
    missing = [key for key in needed if key not in content]
    if missing:
        raise CheckpointError(f"{path}: holds no {', no '.join(missing)}.", hint="Is it another kind of checkpoint?")
    return content


def restore_model(model: nn.Module, weights: dict[str, torch.Tensor], *, path: str | Path) -> None:
    """Load weights that must fit exactly; otherwise nothing is loaded.

    Raises:
        CheckpointError: a parameter is missing, unknown or of another shape; the first three are named.
    """
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in weights]
    wrong += [f"{key} is unknown" for key in weights if key not in own]
    wrong += [
        f"{key} is {tuple(weights[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    if wrong:
        more = f" (+{len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{path}: holds another model: {'; '.join(wrong[:3])}{more}.",
            hint="Check the model name and the number of classes of the run that wrote it.",
        )
    model.load_state_dict(weights)
