"""SIGINT and SIGTERM in our own hands for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def replace_handlers(handler: Handler) -> Callable[[], None]:
    """Let SIGINT and SIGTERM call a handler, and return a function that puts the earlier ones back.

    Only the main thread may set handlers; elsewhere (a test, a notebook's worker) signals stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    earlier = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, previous in earlier.items():  # None: it was not set by Python, and cannot be set again
            signal.signal(number, signal.SIG_DFL if previous is None else previous)

    return restore
