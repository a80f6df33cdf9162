"""Messages for a command line that cannot be parsed, with the option that was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError
from cyclopts.exceptions import UnusedCliTokensError

from smoothiou.engine.config import KEYS

COMMA_LISTS = ("losses", "seeds")


def usage_message(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return one sentence for an error of the command line's parser."""
    if isinstance(error, UnknownOptionError):
        return _setting(error) or str(error)
    if isinstance(error, UnusedCliTokensError):
        unused = list(error.unused_tokens or ())
        return _list_with_spaces(unused, arguments) or f"Not understood: {' '.join(unused)}."
    return str(error)


def _setting(error: UnknownOptionError) -> str:
    """Name the settings that end in an unknown option's name: `--batch-size` is `--train.batch_size`."""
    option = (error.token.keyword or error.token.value).partition("=")[0]
    name = option.removeprefix("--").replace("-", "_")
    known = {name for argument in error.argument_collection for name in argument.names}
    if f"{option}s" in known:  # of many cells a command sets this itself
        return f"Unknown option: {option}. Did you mean {option}s?"
    keys = [f"--{key}" for key in KEYS if key.partition(".")[2] == name]
    if not keys or "--set" not in known:
        return ""
    return f"Unknown option: {option}. Did you mean {' or '.join(keys)}?"


def _list_with_spaces(unused: Sequence[str], arguments: Sequence[str]) -> str:
    """Return how to write a list, if the unused arguments are what follows its first value."""
    for name in COMMA_LISTS:
        match = re.search(rf"(?:^|\0)--{name}[=\0]((?:(?!-)[^\0]+(?:\0|$))+)", "\0".join(arguments))
        values = match[1].strip("\0").split("\0") if match else []
        if len(values) > 1 and values[1:] == unused:
            joined = ",".join(value.strip(",") for value in values)
            return f"{name.capitalize()} are joined by commas: --{name} {joined}"
    return ""
