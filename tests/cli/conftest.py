"""The command line, run as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Result = subprocess.CompletedProcess[str]

# A training that takes seconds; it proves the path, not the loss.
TINY = (
    "--data.images", "12", "--data.size", "64", "--model.min_size", "64", "--model.max_size", "64",
    "--steps", "2", "--train.batch_size", "2", "--train.log_every", "1", "--device", "cpu", "--train.precision", "fp32",
)  # fmt: skip


@pytest.fixture
def smoothiou(tmp_path) -> Callable[..., Result]:
    """Run the command in an empty folder."""

    def run(*words: object, **changes: str) -> Result:
        environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **changes}
        command = [sys.executable, "-m", "smoothiou", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run
