"""Several cells at once on one machine, each a `smoothiou train` process: one that is killed ends no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomli_w

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.files import LockedError, write_text
from smoothiou.manifest import usable_cores
from smoothiou.signals import replace_handlers
from smoothiou.study.cells import (
    Cell,
    CellEvent,
    Kind,
    Tally,
    cell_folder,
    cell_state,
    features_folder,
    ignore_event,
    lock_cell,
    prepare,
    read_error,
    why_no_result,
    write_error,
)

STOPPED = InterruptedRun.exit_code
CONTINUES = "the same command again continues"


def train_command(folder: str | Path, cell: Cell, *, jobs: int = 1) -> list[str]:
    """Return the command line that trains a cell, after writing its recipe; the image cache is divided by `jobs`."""
    path = cell_folder(folder, cell) / "config.toml"
    config = RunConfig().replace(cell["settings"])
    config = config.replace({"train.cache_mb": config.train.cache_mb // jobs})
    write_text(path, tomli_w.dumps(config.nested()))
    return [
        sys.executable, "-m", "smoothiou", "train", "--recipe", str(path), "--out", str(path.parent),
        "--train.feature_folder", str(features_folder(folder)),
    ]  # fmt: skip


def run_parallel(
    folder: str | Path,
    plan: Mapping[str, Any],
    *,
    jobs: int,
    command_for: Callable[[Cell], Sequence[str]] | None = None,
    on_event: Callable[[CellEvent], object] = ignore_event,
) -> dict[str, int]:
    """Train the cells of a study that are not done, `jobs` at once; else as `run_cells`.

    The output of each goes to the end of its log.txt. Cores are divided: OMP_NUM_THREADS is cores // jobs, at
    least 1. SIGINT and SIGTERM are passed on to all processes, which save their state, and are waited for; a
    second signal kills them. Where this process is killed, they go on, and keep the locks of their folders.

    Args:
        folder: of the study.
        plan: from `make_plan`.
        jobs: processes at once, 1 or more.
        command_for: returns the command line of a cell, `train_command` by default. It must exit 0 and leave
            result.json and `done`; exit 130 means stopped by a signal.
        on_event: called with each `CellEvent`, from several threads, one at a time.

    Returns:
        How many cells ended how (see `Tally`).

    Raises:
        ConfigError: `jobs` is below 1.
        InterruptedRun: SIGINT or SIGTERM came; all processes have ended.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs: expected 1 or more, got {jobs}.")
    folder, tally = Path(folder), Tally(plan, on_event)
    jobs = min(jobs, max(1, sum(cell_state(folder, cell) != "done" for cell in tally.cells)))
    processes = _Processes({"OMP_NUM_THREADS": str(threads_of_each(jobs)), "PYTHONUNBUFFERED": "1"})
    command_for = command_for or (lambda cell: train_command(folder, cell, jobs=jobs))
    with catch_signals(processes.stop) as received, ThreadPoolExecutor(jobs) as pool:
        cells = [pool.submit(_run_cell, folder, cell, tally, command_for, processes) for cell in tally.cells]
        try:
            for cell in as_completed(cells):
                cell.result()
        except BaseException:  # of our own: nothing is left behind
            processes.stop(signal.SIGTERM)
            raise
    if received:
        raise InterruptedRun(f"Stopped by {received[0].name}.", hint=f"State is saved: {CONTINUES}.")
    return tally.counts


def threads_of_each(jobs: int) -> int:
    """Return how many threads each of so many cells gets at once, at least 1."""
    return max(1, usable_cores() // jobs)


@contextmanager
def catch_signals(handle: Callable[[signal.Signals], object] | None = None) -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM, and call `handle` with each, in place of dying (in the main thread only)."""
    received: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        received.append(signal.Signals(number))
        if handle is not None:
            handle(received[-1])

    restore = replace_handlers(note)
    try:
        yield received
    finally:
        restore()


class _Processes:
    """The processes that run now: they are stopped together, and then none is started."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **variables}
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopping = False
        self._lock = threading.RLock()  # a signal's handler may interrupt the thread that holds it

    def run(self, command: Sequence[str], log: Path, started: Callable[[], object]) -> int | None:
        """Run a command to its end and return its exit status; None where none is started any more."""
        with self._lock, log.open("ab") as output:
            if self.stopping:
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C in the terminal reaches it through `stop`, once
            )
            self.running.add(process)
        started()
        status = process.wait()
        with self._lock:
            self.running.discard(process)
        return status

    def stop(self, number: signal.Signals) -> None:
        """Pass a signal on to all processes; the second time, kill them and the loaders they have started."""
        with self._lock:
            for process in self.running:
                with suppress(ProcessLookupError):  # it may just have ended by itself
                    if self.stopping:
                        _kill(process)
                    else:
                        process.send_signal(number)
            self.stopping = True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and the loaders it has started; on Windows the process, whose loaders end when they miss it."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _run_cell(
    folder: Path, cell: Cell, tally: Tally, command_for: Callable[[Cell], Sequence[str]], processes: _Processes
) -> None:
    """Run the process of a cell, unless the cell is done or another process trains it, and note how it ended."""
    if processes.stopping:
        return None
    try:
        if not prepare(folder, cell):
            return tally.add("skipped", cell)
    except LockedError as error:
        return tally.add("busy", cell, message=error.message)
    command, began = list(command_for(cell)), time.monotonic()
    try:
        log = cell_folder(folder, cell) / "log.txt"
        status = processes.run(command, log, started=lambda: tally.add("start", cell))
    except OSError as error:
        message = f"{command[0]}: cannot be started: {error.strerror}"
        write_error(folder, cell, message, " ".join(command))
        return tally.add("failed", cell, message=message)
    if status is not None:
        kind, message = _how_it_ended(folder, cell, status, stopping=processes.stopping)
        tally.add(kind, cell, seconds=time.monotonic() - began, message=message)
    return None


def _how_it_ended(folder: Path, cell: Cell, status: int, *, stopping: bool) -> tuple[Kind, str]:
    try:
        with lock_cell(folder, cell):
            if cell_state(folder, cell) == "done":
                return "done", ""
            # On Windows a process that is stopped is ended at once, with a status of 1; it goes on from its last save.
            if status == STOPPED or (stopping and (status < 0 or not hasattr(os, "killpg"))):
                return "stopped", f"stopped by a signal; {CONTINUES}"
            return "failed", read_error(folder, cell) or _failure(folder, cell, status)
    except LockedError as error:  # what an earlier command has started still trains it
        return "busy", error.message


def _failure(folder: Path, cell: Cell, status: int) -> str:
    """Return why a process failed that left no error.txt, and keep it there with the end of its log."""
    lines = (cell_folder(folder, cell) / "log.txt").read_text(errors="replace").strip().splitlines()
    if status == 0:
        message = why_no_result(folder, cell)
    elif status < 0:
        name = signal.Signals(-status).name
        message = f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    else:
        # The command reports an error in a line of this form, and the way out after it.
        errors = [line.removeprefix("smoothiou: ") for line in lines if line.startswith("smoothiou: ")]
        message = (errors or lines or [f"exit code {status}, nothing in log.txt"])[-1].strip()
    write_error(folder, cell, message, "\n".join(lines[-100:]))
    return message
