"""What is printed while the cells of a study are trained."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smoothiou.files import visible

if TYPE_CHECKING:
    from smoothiou.study import CellEvent


class StudyProgress:
    """Prints what happens to cells, and how long the others may take.

    Args:
        say: takes a line for people.
        starts: whether to print every start.
    """

    def __init__(self, say: Callable[[str], Any], *, starts: bool) -> None:
        self.say, self.starts = say, starts
        self.began, self.ended, self.skipped = time.monotonic(), 0, 0

    def __call__(self, event: CellEvent) -> None:
        """Print one event."""
        name = f"[{event.number}/{event.total}] {event.cell['loss']} seed {event.cell['seed']}"
        took = f" in {event.seconds:.0f} s" if event.seconds >= 1 else ""
        self.skipped += event.kind == "skipped"
        self.ended += event.kind in ("done", "failed", "busy")
        if event.kind == "failed":
            line = visible(f"{name}: failed{took}: {event.message}{self.remaining(event)}")
            print(line, file=sys.stderr, flush=True)  # also where --quiet was given
        elif event.kind != "start" or self.starts:
            kind = "done before" if event.kind == "skipped" else event.kind
            reason = f": {event.message}" if event.kind == "busy" else ""
            remaining = self.remaining(event) if event.kind == "done" else ""
            self.say(visible(f"{name}: {kind}{took}{reason}{remaining}"))

    def remaining(self, event: CellEvent) -> str:
        """Return how many cells have ended, and about how long the others will take at this pace."""
        left = event.total - self.skipped - self.ended
        if not left:
            return ""
        seconds = (time.monotonic() - self.began) / self.ended * left
        about = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return f" ({event.total - left} of {event.total}, about {about} left)"
