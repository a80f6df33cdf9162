"""One cell on a machine of a Ray cluster, in the study's folder where it is seen there, else in one of its own.

No Ray is needed here: the task is a function of plain data.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smoothiou.errors import ConfigError, InterruptedRun, SmoothIoUError
from smoothiou.files import hold, read_json, write_bytes
from smoothiou.study import with_parent
from smoothiou.study.cells import Cell, CellEvent, cell_folder, claim
from smoothiou.study.launch import run_parallel, train_command
from smoothiou.study.ray_facts import SAME, facts

POLL_SECONDS = 0.2

Files = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A cell, and what a machine must know to run it.

    Args:
        cell: its entry in the plan.
        study: absolute path of the study's folder on the machine of the command.
        mark: a file in it and its content, by which a machine knows that it sees that folder; "" for none.
        folder: in which the command was given; cells run there where it exists.
        needed: files and folders that the cell reads.
        expected: facts of the machine of the command (see `ray_facts.SAME`).
        threads: for OMP_NUM_THREADS.
        environment: more variables for the cell.
        patience: seconds to wait for a cell that another process has: an earlier attempt's, which is ending.
        begun: gives the files of a cell that was begun, to go on from where the study's folder is not seen.
    """

    cell: Cell
    study: str
    mark: tuple[str, str]
    folder: str
    needed: tuple[str, ...]
    expected: Mapping[str, str]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = 0.0
    begun: Callable[[], Files] = dict


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a cell ended on a machine.

    Args:
        kind: "stopped" is by a signal, with the state saved.
        machine: its name.
        message: one line, unless "done".
        seconds: how long it ran.
        files: of its folder, where the study's folder is not seen from there; else None.
    """

    kind: Literal["done", "failed", "busy", "stopped"]
    machine: str
    message: str = ""
    seconds: float = 0.0
    files: Files | None = None


def run_job(job: Job) -> Outcome:
    """Run a cell to its end, or continue it; what is done already is left as it is."""
    machine = platform.node()
    here = facts(job.needed, job.mark, job.folder)
    if unfit := why_unfit(here, job.expected):
        return Outcome(kind="failed", machine=machine, message=unfit)
    try:
        if here["shared"]:
            return _run(job, Path(job.study), machine, bring=False)
        with scratch(job.cell["id"]) as home:
            for name, content in job.begun().items():
                write_bytes(cell_folder(home, job.cell) / name, content)
            return _run(job, home, machine, bring=True)
    except (InterruptedRun, KeyboardInterrupt):
        return Outcome(kind="stopped", machine=machine, message="stopped by a signal")
    except SmoothIoUError as error:
        return Outcome(kind="failed", machine=machine, message=f"{machine}: {error}")


def why_unfit(there: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Return in one sentence why a machine cannot run cells of a study; "" where it can."""
    differing = [
        f"{'code of smoothiou' if key == 'source' else key} {there[key]} there, {expected[key]} here"
        for key in SAME
        if there[key] != expected[key]
    ]
    if differing:
        return f"{there['machine']}: {'; '.join(differing)}."
    missing = there["missing"]
    if isinstance(missing, list) and missing:
        return f"{there['machine']}: {', '.join(missing)}: no such file or folder there."
    return ""


def _run(job: Job, home: Path, machine: str, *, bring: bool) -> Outcome:
    _wait_for_claim(home, job.cell, job.patience)
    plan = {"seeds": [job.cell["seed"]], "cells": [job.cell]}
    events: list[CellEvent] = []
    environment = {"OMP_NUM_THREADS": str(job.threads), **_environment(job)}
    began = time.monotonic()
    stopped = False
    try:
        run_parallel(
            home, plan, jobs=1, command_for=lambda cell: _command(home, cell, job.folder), environment=environment,
            on_event=events.append,
        )  # fmt: skip
    except InterruptedRun:
        stopped = True
    end = events[-1]
    kind, message = ("done", "") if end.kind == "skipped" else (end.kind, end.message)
    if stopped and kind != "done":
        kind = "stopped"
    elif kind == "failed":
        message = f"{machine}: {_other_data(home, job.cell) or message}"
    files = _read_files(cell_folder(home, job.cell)) if bring else None
    seconds = time.monotonic() - began
    return Outcome(kind=kind, machine=machine, message=message, seconds=seconds, files=files)  # type: ignore[arg-type]


def _command(home: Path, cell: Cell, folder: str) -> list[str]:
    """Return a command line for the cell that ends with this process."""
    wrapper = [sys.executable, "-I", "-S", with_parent.__file__, str(os.getpid())]
    return [*wrapper, folder if os.path.isdir(folder) else "/", *train_command(home, cell)]


def _environment(job: Job) -> dict[str, str]:
    """Return the job's variables; where modules are looked for, this machine's places come after the job's."""
    paths = [path for path in (job.environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if path]
    return {**job.environment, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}


def _wait_for_claim(home: Path, cell: Cell, seconds: float) -> None:
    """Wait until nobody has the cell: after the loss of a worker its training may still be saving."""
    until = time.monotonic() + seconds
    while True:
        with claim(home, cell) as claimed:
            if claimed is not None or time.monotonic() >= until:
                return
        time.sleep(POLL_SECONDS)


def _other_data(home: Path, cell: Cell) -> str:
    """Return what to say where a run has ended well, but with other data than the study's."""
    folder = cell_folder(home, cell)
    if not ((folder / "done").is_file() and (folder / "result.json").is_file()):
        return ""
    if read_json(folder / "result.json").get("hash") == cell["hash"]:
        return ""
    return f"{cell['settings']['data.path']} holds other data there than here"


def _read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a cell, without locks and what was being written."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give an empty folder that nobody else can write to, and remove it; and those that killed workers have left."""
    parent = Path(tempfile.gettempdir()) / f"smoothiou-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    state = parent.lstat()
    if parent.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise ConfigError(f"{parent}: expected a folder that only this user can write to.", hint="Remove it there.")
    _sweep(parent)
    # The lock is there before the folder, so that the sweep of another worker never takes a living one.
    lock = parent / f"{name}-{os.getpid()}-{time.time_ns()}.lock"
    with hold(lock):
        home = lock.with_suffix("")
        home.mkdir()
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    for home in [path for path in parent.iterdir() if path.is_dir()]:
        lock = home.with_name(f"{home.name}.lock")
        with hold(lock) as claimed:
            if claimed is not None:
                shutil.rmtree(home, ignore_errors=True)
                lock.unlink(missing_ok=True)
