"""A live bar with ETA on a terminal, and a plain line every 15 seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self


class Bar:
    """Shows on stderr how far something is.

    Args:
        label: what is counted.
        seconds: between plain lines where stderr is no terminal.
        quiet: show nothing.
    """

    def __init__(self, label: str, *, seconds: float = 15.0, quiet: bool = False) -> None:
        self.label, self.seconds, self.quiet = label, seconds, quiet
        self.live = sys.stderr.isatty() and not quiet
        self.began = self.last = time.monotonic()
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        """Say how many of how many are done, when it is time to."""
        now = time.monotonic()
        due = now - self.last >= (0.1 if self.live else self.seconds) or (self.live and done == total)
        if self.quiet or not due:
            return
        self.last = now
        left = (now - self.began) / max(done, 1) * (total - done)
        # The first image waits for the decoder's start, and says nothing about the others.
        text = f"{self.label} {done}/{total}" + (f"  ETA {left:.0f} s" if done * 50 >= total else "")
        if self.live:
            text = f"[{'#' * round(16 * done / max(total, 1)):<16}] {text}"
            print(f"\r{text:<{len(self._shown)}}", end="", file=sys.stderr, flush=True)
            self._shown = text
        else:
            print(text, file=sys.stderr, flush=True)
