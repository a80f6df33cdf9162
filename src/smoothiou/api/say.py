"""Lines for people, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable

Say = Callable[[str], object]


def say_on_stderr(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def say_nothing(text: str) -> None:
    """Print nothing."""
