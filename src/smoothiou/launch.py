"""Which of several processes this is, as torchrun says in the environment. No torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from smoothiou.errors import ConfigError

LAST_PORT = 65535
_HINT = "Start with torchrun, which sets all of them, or unset them."


@dataclass(frozen=True, slots=True)
class Launch:
    """One process of a training.

    Args:
        rank: its number, 0 for the one that speaks and writes.
        local_rank: its number on its machine.
        world_size: how many there are.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


def launched() -> Launch:
    """Return what the environment says of this process; without a word, it is the only one.

    Raises:
        ConfigError: a variable is no number, or some of those that belong together are missing.
    """
    rank, local, size = (_read(name, usual) for name, usual in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1)))
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT") if size > 1 else ()
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise ConfigError(f"WORLD_SIZE is {size}, and {', '.join(missing)} not set.", hint=_HINT)
    if size > 1 and (port := _read("MASTER_PORT", 0)) > LAST_PORT:
        raise ConfigError(f"MASTER_PORT is {port}: expected at most {LAST_PORT}.", hint=_HINT)
    if rank >= size:
        raise ConfigError(f"RANK is {rank}, and WORLD_SIZE {size}: expected less.", hint=_HINT)
    return Launch(rank, local, size)


def rank() -> int:
    """Return the number of this process, for messages; 0 where the environment cannot be understood."""
    try:
        return launched().rank
    except ConfigError:
        return 0


def _read(name: str, usual: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ConfigError(f"The environment variable {name} is {text!r}: expected a whole number.", hint=_HINT)
    return int(text or usual)
