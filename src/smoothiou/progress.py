"""How far long work is, in one line on stderr: written over on a terminal, given anew at intervals in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

BAR = 16
"""Signs of a full bar."""


class LiveLine:
    """A line for people that a terminal shows in one place, and a log now and then.

    Args:
        seconds: between lines in a log; infinity: only what is forced.
        quiet: show nothing.
        stays: whether the last line stays on the terminal at the end, or is wiped away.
    """

    def __init__(self, *, seconds: float = 15.0, quiet: bool = False, stays: bool = True) -> None:
        self.seconds, self.quiet, self.stays = seconds, quiet, stays
        self.live = sys.stderr.isatty() and not quiet
        self.began = self._last = time.monotonic()
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            end = "\n" if self.stays else f"\r{' ' * len(self._shown)}\r"
            print(end, end="", file=sys.stderr, flush=True)
            self._shown = ""

    @property
    def spent(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.began

    def is_due(self, *, forced: bool = False) -> bool:
        """Return whether a line is to be shown now: forced ones always, the others in turn, none where it is quiet."""
        now = time.monotonic()
        if self.quiet or not (forced or now - self._last >= (0.1 if self.live else self.seconds)):
            return False
        self._last = now
        return True

    def show(self, text: str, *, share: float | None = None) -> None:
        """Show a line in place of the last one; on a terminal with a bar of the share that is done, 0 to 1."""
        if not self.live:
            print(text, file=sys.stderr, flush=True)
            return
        if share is not None:
            text = f"[{'#' * round(BAR * share):<{BAR}}] {text}"
        print(f"\r{text:<{len(self._shown)}}", end="", file=sys.stderr, flush=True)
        self._shown = text

    def keep(self, text: str) -> None:
        """Show a line that stays, where the live one stood."""
        if not self.quiet:
            print(f"\r{text:<{len(self._shown)}}" if self.live else text, file=sys.stderr, flush=True)
            self._shown = ""


def clock(seconds: float) -> str:
    """Return a duration as people write it: 42 s, 3:05 min, 2:10 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
