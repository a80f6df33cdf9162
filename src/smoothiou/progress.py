"""Progress of long work on stderr: a bar redrawn in place on a terminal, one line in a notebook, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


class Progress:
    """One progress line with an estimate of the time left.

    Args:
        label: what is counted.
        total: how many there are; `update` may set it later.
        seconds: between lines in a log.
        quiet: show nothing.
        transient: on a terminal or in a notebook, wipe the line away at the end.
    """

    def __init__(
        self,
        label: str,
        *,
        total: int | None = None,
        seconds: float = 15.0,
        quiet: bool = False,
        transient: bool = False,
    ) -> None:
        self.label, self.total, self.seconds = label, total, seconds
        self.quiet = quiet or sys.stderr is None
        self._started = self._last = time.monotonic()
        self._bar = _bar(transient) if not quiet and sys.stderr is not None and sys.stderr.isatty() else None
        self._is_notebook = self._bar is None and type(sys.stderr).__module__.startswith("ipykernel")
        self._transient, self._width = transient, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._width:  # a line is still open
            print("\r" + " " * self._width + "\r" if self._transient else "\n", end="", file=sys.stderr, flush=True)

    def update(
        self, done: int, total: int | None = None, text: str = "", *, label: str | None = None, force: bool = False
    ) -> None:
        """Show how many are done, unless a line was shown a moment ago.

        Args:
            done: how many.
            total: of how many, where that was not known before.
            text: further numbers for the line.
            label: what is counted now, where that changes.
            force: show this line in a log too, whenever the last one was.
        """
        self.total, self.label = total or self.total, label or self.label
        now = time.monotonic()
        redrawn = self._bar is not None or self._is_notebook
        due = now - self._last >= ((0.1 if self._bar is not None else 0.5) if redrawn else self.seconds)
        if self.quiet or not (due or force or (redrawn and done == self.total)):
            return
        self._last = now
        if self._is_notebook:
            line = self._line(done, text, now - self._started)
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
            return
        if self._bar is None:
            print(self._line(done, text, now - self._started), file=sys.stderr, flush=True)
            return
        if not self._bar.tasks:
            self._bar.start()
            self._bar.add_task("", total=None, text="")
        self._bar.update(self._bar.task_ids[0], description=self.label, completed=done, total=self.total, text=text)
        self._bar.refresh()

    def _line(self, done: int, text: str, elapsed: float) -> str:
        left = ""
        if self.total and done and done * 50 >= self.total:  # the first item waits for a start-up that others do not
            left = f"ETA {duration(elapsed / done * (self.total - done))}"
        return "  ".join(filter(None, (f"{self.label} {done}/{self.total}", text, left)))

    def print(self, text: str) -> None:
        """Print a line that stays, above the progress line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            print("\r" + text.ljust(self._width) if self._width else text, file=sys.stderr, flush=True)
            self._width = 0


def _bar(transient: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    console = Console(file=sys.stderr, force_terminal=True)
    # A line that wraps cannot be redrawn in place: where it is narrow, the bar goes first, then the end of the label.
    wide = console.width >= 100
    one_line: Any = {"no_wrap": True, "overflow": "ellipsis"}
    label: Any = {**one_line, "max_width": None if wide else max(8, console.width - 56)}
    return RichProgress(
        TextColumn("{task.description}", markup=False, table_column=Column(**label)),
        *([BarColumn(bar_width=16)] if wide else []),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(**one_line)),
        TextColumn("ETA", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        transient=transient,
        auto_refresh=False,  # no thread, which loader processes would be forked from
        redirect_stdout=False,  # stdout is for programs
    )


def track(items: Iterable[Item], *, total: int, label: str, quiet: bool = False) -> Iterator[Item]:
    """Yield the items, and show how many have been."""
    with Progress(label, total=total, quiet=quiet) as progress:
        for done, item in enumerate(items, 1):
            progress.update(done)
            yield item


def duration(seconds: float) -> str:
    """Return a duration as people write it: 42 s, 3:05 min, 2:10 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
