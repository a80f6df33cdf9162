"""The command line in processes that can be signalled and killed, forked from one that has imported torch already."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["smoothiou.cli.train", "smoothiou.engine.train", "smoothiou.study"])
_NUMBERS = itertools.count()


class Command:
    """A command that runs or has run, in a process group of its own.

    Args:
        folder: its working directory.
        words: its command line.
        file_size: bytes that a file may have, which stands for a disk without room.
    """

    def __init__(self, folder: Path, *words: object, file_size: int | None = None) -> None:
        number = next(_NUMBERS)
        self.out, self.err = folder / f"out-{number}.txt", folder / f"err-{number}.txt"
        self.err.touch()
        arguments = ([str(word) for word in words], folder, self.out, self.err, file_size)
        self.process = _FORKSERVER.Process(target=_command, args=arguments)
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def status(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.process.exitcode

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self.err.read_text()

    def wait(self, seconds: float = 120) -> int:
        """Return the exit code."""
        self.process.join(seconds)
        assert self.status is not None, f"still running after {seconds} s: {self.stderr}"
        return self.status

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and its loaders."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill the process and its loaders, and wait until it has gone."""
        self.signal_group(signal.SIGKILL)
        self.wait()


def run_command(folder: Path, *words: object, file_size: int | None = None) -> Command:
    """Start a command and wait for its end."""
    command = Command(folder, *words, file_size=file_size)
    command.wait()
    return command


def _command(words: list[str], folder: Path, out: Path, err: Path, file_size: int | None) -> None:
    os.setsid()
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    multiprocessing.set_start_method("fork", force=True)  # as in a process that a user starts
    sys.argv = ["smoothiou", *words]
    import torch

    from smoothiou.cli import main

    torch.set_num_threads(1)

    main(words)
