"""A pytest plugin: the contract of every loss, where torch computes what NumPy computes on a CPU.

    python -m pytest -p tests.losses.on_torch tests/losses/test_on_boxes.py tests/losses/test_every_loss.py

torch's formulas are the reference for NumPy's and for the kernels, and what runs on devices without kernels.
"""

from __future__ import annotations

import pytest

from smoothiou.boxes import OfBoxes, OfDeltas

COMPILER = ("graph_to_the_compiler", "compiled")
"""Parts of names of tests of the compiler, which has torch's formulas in any case."""


def _never(self: OfBoxes | OfDeltas, pred: object) -> bool:
    return False


def pytest_configure(config: pytest.Config) -> None:
    """Take NumPy out of the losses of this process."""
    for loss in (OfBoxes, OfDeltas):
        loss.runs_in_numpy = _never  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what NumPy has no part in."""
    left_out = [item for item in items if any(word in item.name for word in COMPILER)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
