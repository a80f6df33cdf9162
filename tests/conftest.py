"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets that lies beside a checkout; its licences keep it out of the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real data sets (../shared/data) are not beside this checkout")
    return SHARED / "data"


@pytest.fixture
def without_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the panels of a report undrawn, which take nine tenths of its time: for tests of words and numbers."""
    monkeypatch.setattr("smoothiou.report.study_page.draw_panel", lambda *_, **__: "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
