"""Settings of single losses, such as a learning rate that was found for each on val, from a TOML file. No torch."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import reason_of
from smoothiou.files.untrusted import read_bytes

MAX_BYTES = 2**20


def read_tuned(path: Path, *, losses: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of each loss that the file names, by their dotted keys.

    A table of the file bears the loss as `--losses` writes it; a loss without a table keeps the settings of all:

        ["huber[delta=0.37]"]
        "optim.lr" = 0.002
        "loss.roi_weight" = 3.0

    Raises:
        ConfigError: the file cannot be read, a table is of no loss of the study, or a setting is unknown or out of
            range.
    """
    try:
        content = tomllib.loads(read_bytes(path, most=MAX_BYTES).decode())
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        text = f"--tuned {path}: {reason_of(error)}."
        raise ConfigError(text, hint="Name a TOML file with a table for each tuned loss: docs/compare.md.") from None
    for loss, settings in content.items():
        if loss not in losses:
            hint = did_you_mean(loss, losses)
            raise ConfigError(f"--tuned {path}: expected tables of the study's losses, got {loss!r}.", hint=hint)
        if not isinstance(settings, dict) or any(isinstance(value, dict) for value in settings.values()):
            raise ConfigError(
                f"--tuned {path}: {loss}: expected settings by their dotted keys.", hint='Write "optim.lr" = 0.002.'
            )
        RunConfig().replace(settings)  # unknown keys and values out of range
    return content
