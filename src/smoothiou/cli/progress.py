"""How many of how many are done, with ETA: for commands that go through images or files."""

from __future__ import annotations

from smoothiou.progress import LiveLine, clock


class Bar(LiveLine):
    """A live line that counts, and leaves no trace on a terminal.

    Args:
        label: what is counted.
        seconds: between lines in a log.
        quiet: show nothing.
    """

    def __init__(self, label: str, *, seconds: float = 15.0, quiet: bool = False) -> None:
        super().__init__(seconds=seconds, quiet=quiet, stays=False)
        self.label = label

    def count(self, done: int, total: int) -> None:
        """Say how many of how many are done, when it is time to."""
        if not self.is_due(forced=self.live and done == total):
            return
        # The first image waits for the decoder's start, and says nothing about the others.
        left = f"  ETA {clock(self.spent / max(done, 1) * (total - done))}" if done * 50 >= total else ""
        self.show(f"{self.label} {done}/{total}{left}", share=done / max(total, 1))
