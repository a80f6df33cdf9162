"""What loader processes say, and leave unsaid."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_A_LOADER = """
import sys, threading
from smoothiou.engine.loading import _ignore_signals
_ignore_signals(0)
for error in (BrokenPipeError("nobody takes the batch"), EOFError(), ValueError("a fault of its own")):
    try:
        raise error
    except Exception:
        sys.excepthook(*sys.exc_info())  # as multiprocessing's thread does that hands batches over
"""


@pytest.mark.slow
def test_a_loader_whose_training_has_ended_prints_no_traceback_but_tells_its_own_faults():
    said = subprocess.run([sys.executable, "-c", OF_A_LOADER], capture_output=True, text=True, check=True).stderr
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("ValueError: a fault of its own")
