"""The command line from a process that has imported torch already, so that a test of many starts takes seconds.

What runs is `smoothiou.cli.main` with the given words, in a process and a session of its own, which can be signalled
and killed like any other. Only the seconds of importing are saved: the mother process forks instead of starting anew.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass
class Command:
    """A command that runs or has run.

    Args:
        mother: that has started it.
        pid: its process id, which is also its group's.
        out, err: files of what it prints.
    """

    mother: Mother
    pid: int
    out: Path
    err: Path
    status: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.status is None:
            self.status = self.mother.ask(wait=self.pid)
        return self.status

    def wait(self, seconds: float = 120) -> int:
        """Return the exit code."""
        until = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < until, f"still running after {seconds} s: {self.said}"
            time.sleep(0.02)
        assert self.status is not None
        return self.status

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and its loaders."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill the process and its loaders, and wait until it has gone."""
        self.signal_group(signal.SIGKILL)
        self.wait()

    @property
    def said(self) -> str:
        """What it has told people so far."""
        return self.err.read_text()


class Mother:
    """Starts commands by fork."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def ask(self, **question: Any) -> Any:
        """Send a question to the process, and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, folder: Path, *words: object, file_size: int | None = None) -> Command:
        """Start a command in a folder.

        Args:
            folder: its working directory.
            words: its command line.
            file_size: bytes that a file may have, which stands for a disk without room.
        """
        self.number = getattr(self, "number", 0) + 1
        out, err = folder / f"out-{self.number}.txt", folder / f"err-{self.number}.txt"
        texts = [str(word) for word in words]
        pid = self.ask(start=texts, folder=str(folder), out=str(out), err=str(err), file_size=file_size)
        return Command(self, pid, out, err)

    def run(self, folder: Path, *words: object, file_size: int | None = None) -> Command:
        """Start a command and wait for its end."""
        command = self.start(folder, *words, file_size=file_size)
        command.wait()
        return command


def _serve() -> None:

    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            answer: int | None = _fork(**question)
        else:
            pid, status = os.waitpid(question["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


def _fork(start: list[str], folder: str, out: str, err: str, file_size: int | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT, 0o644), 1)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT, 0o644), 2)
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        sys.argv = ["smoothiou", *start]
        from smoothiou.cli import main

        main(start)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
