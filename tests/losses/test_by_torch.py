"""The contract of every loss once more, where torch computes it: see `on_torch.py`."""

from __future__ import annotations

import pytest

from tests.losses.test_fused import HERE, run


@pytest.mark.slow
def test_torch_s_formulas_keep_the_contract_of_every_loss():
    files = (str(HERE / name) for name in ("test_on_boxes.py", "test_every_loss.py"))
    assert "[100%]" in run("-m", "pytest", "-p", "tests.losses.on_torch", "-q", "-n", "0", *files)
