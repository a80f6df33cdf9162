"""A pytest plugin: of the contract that every loss keeps, what the kernels must keep, by Triton's interpreter.

    TRITON_INTERPRET=1 python -m pytest -p tests.losses.on_kernels tests/losses/test_on_boxes.py

The interpreter is slow, so what hypothesis would try is left out: the extremes and the shapes of the contract stay.
"""

from __future__ import annotations

import pytest
from hypothesis import is_hypothesis_test

from smoothiou.boxes import fused

FUSED = ("iou", "giou", "diou", "ciou", "efficient-iou", "smooth-iou")
NOT_OF_KERNELS = ("compiler", "compiled", "gradcheck", "gradgradcheck")
"""Parts of names of tests that no kernel takes part in: the compiler and float64 have torch's formulas."""
ROUNDS_WRONGLY = "bfloat16"
"""Cut off, not rounded, by Triton 3.8's interpreter, and wrong below the smallest normal number; not so on a GPU."""

if fused.INTERPRETED:
    from triton.runtime import interpreter

    slow_call = interpreter.InterpretedFunction.__call__

    def call(self, *args, **kwargs):
        # The kernel has patched the language already; doing it again for each function takes nearly all the time.
        try:
            return self.rewrite()(*args, **kwargs)
        except Exception:
            return slow_call(self, *args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is about a loss that has a kernel."""
    kept = [item for item in items if isinstance(item, pytest.Function) and _of_kernels(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _of_kernels(item: pytest.Function) -> bool:
    given = item.callspec.params if hasattr(item, "callspec") else {}
    name = given.get("name")
    if name not in FUSED or any(word in item.name for word in NOT_OF_KERNELS):
        return False
    return not str(given.get("dtype")).endswith(ROUNDS_WRONGLY) and not is_hypothesis_test(item.function)
