"""Helper processes that carry a share of a descent each.

Threads would not do: a step of a chunk is a hundred short operations, and Python's lock changes hands at every one
(measured: two threads as fast as one). Processes have a lock each. A helper is this file, run with the interpreter
and the module path of its parent; both send pickled messages through its standard streams. It ends when its
parent closes them, however the parent ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

import torch
from torch import Tensor

from smoothiou.errors import SmoothIoUError
from smoothiou.lab.share import Gradient, Means, Share

WORTHWHILE = 16
"""Chunks from which on the seconds that a helper needs to start are well spent."""


class Team:
    """Helpers for the descents of one command; they start with the first descent that is long enough.

    Args:
        workers: processes at work, this one included; None: one per core, at most four.
        least_chunks: chunks from which on a descent is shared.
    """

    def __init__(self, workers: int | None = None, *, least_chunks: int = WORTHWHILE) -> None:
        self.workers = workers or min(4, available_cores())
        self.least_chunks = least_chunks
        self._helpers: list[Helper] = []

    def helpers(self, chunks: int) -> list[Helper]:
        """Return the helpers for a descent of so many chunks; none where it is short."""
        if chunks < max(self.least_chunks, self.workers):
            return []
        while len(self._helpers) < self.workers - 1:
            self._helpers.append(Helper())
        return self._helpers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for helper in self._helpers:
            helper.close()
        self._helpers = []


class Helper:
    """The parent's end of a helper process: what `Share` does, elsewhere; asked first, answered later."""

    def __init__(self) -> None:
        # -P: the current folder's files must not hide modules; what the parent sees, the helper sees.
        command = [sys.executable, "-P", "-m", "smoothiou.lab.team"]
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **paths}
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin, self.process.stdout

    def ask(self, name: str, *arguments: Any) -> None:
        """Send a request: `start`, `step` or `result`. That the helper is gone is told by `answer`."""
        with contextlib.suppress(BrokenPipeError):
            _send(self._to, (name, arguments))

    def answer(self) -> Any:
        """Return the answer to the oldest request.

        Raises:
            SmoothIoUError: the helper failed, or is gone.
        """
        try:
            good, content = pickle.load(self._from)
        except (EOFError, pickle.UnpicklingError) as error:
            raise SmoothIoUError(
                f"A helper process of the simulation ended with exit code {self.process.wait()}.",
                hint="It may have run out of memory: fewer --cases need less.",
            ) from error
        if not good:
            raise SmoothIoUError(f"A helper process of the simulation failed: {content}")
        return content

    def close(self) -> None:
        """Let the process end."""
        with contextlib.suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_share(helper: Helper, gradient: Gradient, anchors: Tensor, targets: Tensor, *, size: int) -> None:
    """Give a helper its boxes and its gradient."""
    helper.ask("start", gradient, *(boxes.contiguous().numpy() for boxes in (anchors, targets)), size)


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _send(stream: IO[bytes], content: Any) -> None:
    pickle.dump(content, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    share: Share | None = None

    def start(gradient: Gradient, anchors: Any, targets: Any, size: int) -> None:
        nonlocal share
        share = Share(gradient, torch.from_numpy(anchors), torch.from_numpy(targets), size=size)

    def step(rate: float, means: Means | None, counted: bool) -> Any:
        assert share is not None
        return share.step(rate, means, counted)

    def result() -> Any:
        assert share is not None
        return [part.numpy() for part in share.result()]

    known: dict[str, Callable[..., Any]] = {"start": start, "step": step, "result": result}
    while True:
        try:
            name, arguments = pickle.load(requests)
        except EOFError:
            return
        except Exception as error:
            _send(answers, (False, _line(error)))
            continue
        try:
            _send(answers, (True, known[name](*arguments)))
        except BrokenPipeError:
            return
        except Exception as error:
            _send(answers, (False, _line(error)))


def _line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; its end ends us
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints beside the messages
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
