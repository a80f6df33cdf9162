"""Several cells at once on one machine, each in a process of its own, which may be stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.files import INHERITED, sign, write_text
from smoothiou.study.cells import (
    NO_RESULT,
    Cell,
    CellEvent,
    cell_folder,
    cell_state,
    claim,
    claimed_by,
    ignore_event,
    in_order,
    prepare,
    read_error,
    write_error,
)

POLL_SECONDS = 0.05
STOPPED = 130


def train_command(folder: str | Path, cell: Cell) -> list[str]:
    """Return the command line that runs a cell, after writing the recipe that it names."""
    path = cell_folder(folder, cell) / "config.toml"
    write_text(path, tomli_w.dumps(RunConfig().replace(cell["settings"]).nested()))
    return [sys.executable, "-m", "smoothiou", "train", "--recipe", str(path), "--out", str(path.parent)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Child:
    number: int
    cell: Cell
    process: subprocess.Popen[bytes]
    claimed: ExitStack
    started: float


def run_parallel(
    folder: str | Path,
    plan: Mapping[str, Any],
    *,
    jobs: int,
    command_for: Callable[[Cell], Sequence[str]],
    environment: Mapping[str, str] | None = None,
    on_event: Callable[[CellEvent], object] = ignore_event,
) -> dict[str, int]:
    """Run the cells of a study in `jobs` processes at once; else as `run_cells`.

    The output of each goes to the end of its log.txt. Cores are divided: OMP_NUM_THREADS is cores // jobs, at
    least 1. SIGINT and SIGTERM are passed on to all children, which save their state, and are waited for; a
    second signal kills.

    Args:
        folder: of the study.
        plan: from `smoothiou.study.plan`.
        jobs: processes at once, 1 or more.
        command_for: gives the command line of a cell. It must exit 0 and leave result.json and `done`; exit
            130 means stopped by a signal.
        environment: variables for the children, over this process's own.
        on_event: is told what happens, in this process.

    Returns:
        How many cells were "done" now, "skipped" as done before, "failed", "busy" in another process, or
        "stopped" (each alone, by a signal from elsewhere).

    Raises:
        ConfigError: `jobs` is below 1.
        InterruptedRun: SIGINT or SIGTERM came; all children have ended.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs: expected 1 or more, got {jobs}.")
    launcher = _Launcher(Path(folder), plan, jobs, command_for, environment or {}, on_event)
    with collect_signals() as received:
        try:
            launcher.work(received)
        finally:
            launcher.end_all()
    if received:
        name = signal.Signals(received[0]).name
        raise InterruptedRun(f"Stopped by {name}.", hint="State is saved: the same command again continues.")
    return launcher.counts


@contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them (possible in the main thread only)."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in earlier:
            signal.signal(number, lambda number, frame: received.append(number))
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class _Launcher:
    """The children that run now, the cells that wait, and the counts so far."""

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        jobs: int,
        command_for: Callable[[Cell], Sequence[str]],
        environment: Mapping[str, str],
        on_event: Callable[[CellEvent], object],
    ) -> None:
        self.folder, self.command_for, self.on_event = folder, command_for, on_event
        cells = in_order(plan)
        self.total = len(cells)
        self.waiting = deque(enumerate(cells, 1))
        self.running: list[_Child] = []
        self.counts = {"done": 0, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
        self.jobs = min(jobs, max(1, sum(cell_state(folder, cell) != "done" for cell in cells)))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = str(max(1, cores // self.jobs))
        self.environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", **environment}

    def work(self, received: list[int]) -> None:
        """Start and reap children until all cells are through, or a signal came and all have ended."""
        passed_on = 0
        while self.running or (self.waiting and not received):
            while passed_on < len(received):
                self.pass_on(received[passed_on], kill=passed_on > 0)
                passed_on += 1
            while self.waiting and len(self.running) < self.jobs and not received:
                self.start(*self.waiting.popleft())
            for child in [child for child in self.running if child.process.poll() is not None]:
                self.reap(child, stopping=bool(received))
            if self.running:
                time.sleep(POLL_SECONDS)

    def start(self, number: int, cell: Cell) -> None:
        """Start the child of a cell, unless the cell is done or another process has it."""
        with ExitStack() as stack:
            claimed = stack.enter_context(claim(self.folder, cell))
            if cell_state(self.folder, cell) == "done":
                return self.tell("skipped", number, cell)
            if claimed is None:
                return self.tell("busy", number, cell, message=f"{claimed_by(self.folder, cell)} runs it")
            prepare(self.folder, cell)
            command = list(self.command_for(cell))
            with (cell_folder(self.folder, cell) / "log.txt").open("ab") as log:
                try:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**self.environment, INHERITED: str(claimed)},
                        start_new_session=True,  # Ctrl-C reaches it through us, once
                        pass_fds=[claimed],  # it keeps the claim, should this process be killed
                    )
                except OSError as error:
                    message = f"{command[0]}: cannot be started: {error.strerror}"
                    write_error(self.folder, cell, message, " ".join(command))
                    return self.tell("failed", number, cell, message=message)
            sign(claimed, process.pid)
            self.running.append(
                _Child(
                    number=number,
                    cell=cell,
                    process=process,
                    claimed=stack.pop_all(),
                    started=time.monotonic(),
                )
            )
        self.tell("start", number, cell)
        return None

    def reap(self, child: _Child, *, stopping: bool) -> None:
        """Record how a child ended."""
        self.running.remove(child)
        status = child.process.returncode
        seconds = time.monotonic() - child.started
        with child.claimed:
            if cell_state(self.folder, child.cell) == "done":
                kind, message = "done", ""
            elif status == STOPPED or (stopping and status < 0):
                kind, message = "stopped", "stopped by a signal; the same command again continues"
            else:
                kind, message = "failed", self.failure(child.cell, status)
        self.tell(kind, child.number, child.cell, seconds=seconds, message=message)

    def failure(self, cell: Cell, status: int) -> str:
        """Return why a child failed: in its own words, else the end of its log, kept in error.txt."""
        told = read_error(self.folder, cell)
        if told:
            return told
        log = (cell_folder(self.folder, cell) / "log.txt").read_text(errors="replace").strip()
        lines = log.splitlines() or [""]
        # A cell's own command says what went wrong in a line of this form, and after it the way out.
        said = [line for line in lines if line.startswith("smoothiou: ")]
        last = said[-1].removeprefix("smoothiou: ") if said else lines[-1].strip()
        if status < 0:
            name = signal.Signals(-status).name
            message = f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        else:
            message = NO_RESULT if status == 0 else last or f"exit code {status}, nothing in log.txt"
        write_error(self.folder, cell, message, "\n".join(log.splitlines()[-100:]))
        return message

    def pass_on(self, number: int, *, kill: bool) -> None:
        """Send a signal to every child; `kill` ends them and their helpers at once."""
        for child in self.running:
            if kill:
                _kill(child)
            else:
                child.process.send_signal(number)

    def end_all(self) -> None:
        """End what still runs, when this process itself met an error."""
        for child in self.running:
            child.process.terminate()
        for child in self.running:
            try:
                child.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                _kill(child)
                child.process.wait()
            child.claimed.close()

    def tell(self, kind: Any, number: int, cell: Cell, **facts: Any) -> None:
        """Count and pass on what happened."""
        if kind in self.counts:
            self.counts[kind] += 1
        self.on_event(CellEvent(kind=kind, cell=cell, number=number, total=self.total, **facts))


def _kill(child: _Child) -> None:
    """Kill a child and the loaders it may have started: they share its session."""
    with suppress(ProcessLookupError):  # it may just have ended by itself
        os.killpg(child.process.pid, signal.SIGKILL)
