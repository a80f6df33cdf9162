"""stdout and stderr as they may be: closed, full, left by their reader, or unable to show a letter."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Stderr:
    """A stream for people, of which a failure is none of the command: what cannot be written is left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if the stream takes it."""
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, if the stream takes it."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare_streams() -> None:
    """Give every stream somewhere to go, and spell out letters that an encoding has not.

    Python has no stream at all for a file that was closed (`>&-`), and the next file that is opened would get its
    number, and with it whatever a library writes to stdout or stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, open to the end
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)
    if not isinstance(sys.stderr, Stderr):
        sys.stderr = Stderr(sys.stderr)  # type: ignore[assignment]


def give_up_stdout() -> None:
    """Let what is still buffered go nowhere, for it would fail once more when the interpreter ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
