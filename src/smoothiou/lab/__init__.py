"""What box losses do to a box, without a detector: the paper's curves, and simulated regression.

Everything is computed with the losses of the shelf and returned as plain numbers; `report` draws it. Names are
resolved at their first use, so that the command line can name this room without importing torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__: list[str] = []

_HOMES: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
