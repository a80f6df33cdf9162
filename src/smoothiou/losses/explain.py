"""What a loss says about itself: its options and its docstring."""

from __future__ import annotations

import inspect


def options_of(name: str) -> dict[str, object]:
    """Return the options of a loss of the shelf with their defaults."""
    from smoothiou.losses.shelf import LOSSES

    loss = LOSSES[name]
    parameters = inspect.signature(loss).parameters.values() if "__init__" in vars(loss) else ()
    return {parameter.name: parameter.default for parameter in parameters}


def text_of(name: str) -> str:
    """Return the docstring of a loss of the shelf."""
    from smoothiou.losses.shelf import LOSSES

    return inspect.getdoc(LOSSES[name]) or ""
