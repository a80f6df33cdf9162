"""The command line, run as users run it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothiou.cli import main

Result = subprocess.CompletedProcess[str]

# A training that takes seconds; it proves the path, not the loss.
TINY = (
    "--data.images", "12", "--data.size", "64", "--model.min_size", "64", "--model.max_size", "64",
    "--steps", "2", "--train.batch_size", "2", "--train.log_every", "1", "--device", "cpu", "--train.precision", "fp32",
)  # fmt: skip
PLAIN = {"COLUMNS": "120", "NO_COLOR": "1"}


@pytest.fixture
def smoothiou_process(tmp_path: Path) -> Callable[..., Result]:
    """Run the command in an empty folder and a process of its own; a given PYTHONPATH comes before the usual one."""

    def run(*words: object, **environment: str) -> Result:
        command = [sys.executable, "-m", "smoothiou", *map(str, words)]
        paths = filter(None, [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, **PLAIN, **environment, "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run


def run_here(folder: Path, *words: object, **environment: str) -> Result:
    """Run the command in a folder and in this process, which spares the import of torch."""
    texts, code = [str(word) for word in words], 0
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.modules.pop("mine", None)  # another test's, imported without this function
    modules = set(sys.modules)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # as for users: a line on stderr
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["smoothiou", *texts])
        patch.setattr(sys, "path", [*sys.path])
        for name, value in {**PLAIN, **environment}.items():
            patch.setenv(name, value)
        try:
            main(texts)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in set(sys.modules) - modules:  # the next test has another `mine.py`
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    written = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(["smoothiou", *texts], code, *written)


@pytest.fixture
def smoothiou(tmp_path: Path, smoothiou_process) -> Callable[..., Result]:
    """Run the command in an empty folder and in this process.

    With another PYTHONPATH it is a process of its own, as in the tests of imports, streams and signals.
    """

    def run(*words: object, **environment: str) -> Result:
        return (
            smoothiou_process(*words, **environment)
            if "PYTHONPATH" in environment
            else run_here(tmp_path, *words, **environment)
        )

    return run
