"""What is said about words of a command that it does not know."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError
from cyclopts.exceptions import UnusedCliTokensError

from smoothiou.engine.config import KEYS

LISTS = ("losses", "seeds")
"""Options whose values are joined by commas."""


def wrong_usage(error: CycloptsError, given: Sequence[str]) -> str:
    """Return the sentence for a command that was written wrongly.

    Args:
        error: of the reader of the command line.
        given: the words of the command.
    """
    if isinstance(error, UnknownOptionError):
        return _setting(error) or str(error)
    if isinstance(error, UnusedCliTokensError):
        words = list(error.unused_tokens or ())
        return _list_with_spaces(words, given) or f"Not understood: {' '.join(words)}."
    return str(error)


def _setting(error: UnknownOptionError) -> str:
    """Name the settings that end in an unknown option's name: `--batch-size` is `--train.batch_size`."""
    option = (error.token.keyword or error.token.value).partition("=")[0]
    name = option.removeprefix("--").replace("-", "_")
    known = {known for argument in error.argument_collection for known in argument.names}
    if f"{option}s" in known:  # of many cells a command sets this itself
        return f"Unknown option: {option}. Did you mean {option}s?"
    keys = [f"--{key}" for key in KEYS if key.partition(".")[2] == name]
    if not keys or "--set" not in known:
        return ""
    return f"Unknown option: {option}. Did you mean {' or '.join(keys)}?"


def _list_with_spaces(unused: Sequence[str], given: Sequence[str]) -> str:
    """Tell how a list is written, where the words left over are what follows its first value."""
    for name in LISTS:
        found = re.search(rf"(?:^|\0)--{name}[=\0]((?:(?!-)[^\0]+(?:\0|$))+)", "\0".join(given))
        values = found[1].strip("\0").split("\0") if found else []
        if len(values) > 1 and values[1:] == unused:
            joined = ",".join(value.strip(",") for value in values)
            return f"{name.capitalize()} are joined by commas: --{name} {joined}"
    return ""
