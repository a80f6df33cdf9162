"""What the tests of the functions share: settings under which a training takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "steps": 2, "device": "cpu", "data__images": 12, "data__size": 64, "model__min_size": 64, "model__max_size": 64,
    "train__batch_size": 2, "train__log_every": 1, "train__precision": "fp32", "quiet": True,
}  # fmt: skip
"""It proves the path, not the loss."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_panels: None) -> None:
    monkeypatch.chdir(tmp_path)
