"""The cells of a study: their state, read from their folders, and training them one after the other. No torch."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smoothiou import files
from smoothiou.engine.config import RunConfig
from smoothiou.errors import DataError, InterruptedRun
from smoothiou.files import LockedError, lock_folder

Cell = Mapping[str, Any]
State = Literal["done", "failed", "partial", "new"]
Kind = Literal["skipped", "busy", "start", "done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellEvent:
    """Something that happened to a cell, for whoever shows progress.

    Args:
        kind: "skipped" (was done before), "busy" (another process trains it), "start", "done", "failed", or "stopped"
            (by a signal; its state is saved).
        cell: its entry in the plan.
        number: its position in the plan, from 1.
        total: cells in the plan.
        seconds: how long it ran.
        message: for "failed", "stopped" and "busy", one line.
    """

    kind: Kind
    cell: Cell
    number: int
    total: int
    seconds: float = 0.0
    message: str = ""


def ignore_event(event: CellEvent) -> None:
    """Show nothing."""


class Tally:
    """Counts how cells end, and passes the events on, one at a time.

    Args:
        plan: of the study.
        on_event: called with each `CellEvent`.

    Attributes:
        cells: seed by seed, so that an unfinished study has complete pairs.
        counts: how many cells were "done" now, "skipped" as done before, "failed", "busy" in another process, or
            "stopped" by a signal.
    """

    def __init__(self, plan: Mapping[str, Any], on_event: Callable[[CellEvent], object]) -> None:
        position = {seed: number for number, seed in enumerate(plan["seeds"])}
        self.cells: list[Cell] = sorted(plan["cells"], key=lambda cell: position.get(cell["seed"], len(position)))
        self.counts = {"done": 0, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
        self._on_event, self._lock = on_event, threading.Lock()
        self._numbers = {cell["id"]: number for number, cell in enumerate(self.cells, 1)}

    def add(self, kind: Kind, cell: Cell, *, seconds: float = 0.0, message: str = "") -> None:
        """Count an event and pass it on."""
        number, total = self._numbers[cell["id"]], len(self.cells)
        with self._lock:
            if kind in self.counts:
                self.counts[kind] += 1
            self._on_event(
                CellEvent(kind=kind, cell=cell, number=number, total=total, seconds=seconds, message=message)
            )


def cell_folder(folder: str | Path, cell: Cell) -> Path:
    """Return the folder of a cell inside its study's."""
    return Path(folder) / "cells" / cell["id"]


def features_folder(folder: str | Path) -> Path:
    """Return where the cells of a study share the feature maps of a frozen backbone, until its end."""
    return Path(folder) / "features"


def cell_state(folder: str | Path, cell: Cell) -> State:
    """Return the state of a cell, read from its folder.

    Args:
        folder: of the study.
        cell: its entry in the plan.

    Returns:
        "done": the file `done` and a result of this cell's hash; "failed": error.txt; "partial": a checkpoint
        to continue from; else "new".
    """
    home = cell_folder(folder, cell)
    if read_result(folder, cell) is not None:
        return "done"
    if (home / "error.txt").is_file():
        return "failed"
    return "partial" if (home / "last.ckpt").is_file() else "new"


def read_result(folder: str | Path, cell: Cell) -> dict[str, Any] | None:
    """Return result.json of a cell that is done; None when it is not, or the file is broken or of another cell."""
    home = cell_folder(folder, cell)
    if not (home / "done").is_file():
        return None
    try:
        result = files.read_json(home / "result.json")
    except DataError:
        return None
    return result if isinstance(result, dict) and result.get("hash") == cell["hash"] else None


def read_error(folder: str | Path, cell: Cell) -> str:
    """Return the first line of a cell's error.txt, or "" where there is none."""
    try:
        text = (cell_folder(folder, cell) / "error.txt").read_text(errors="replace").strip()
    except OSError:
        return ""
    return text.splitlines()[0] if text else "unknown"


def write_error(folder: str | Path, cell: Cell, message: str, details: str) -> None:
    """Write error.txt: the message as its first line, then the details (a traceback, the end of a log)."""
    files.write_text(cell_folder(folder, cell) / "error.txt", f"{message}\n\n{details.rstrip()}\n")


def lock_study(folder: str | Path) -> AbstractContextManager[None]:
    """Keep other commands out of a study while one works on it (see `files.lock_folder`)."""
    return lock_folder(folder, doing="is working on this study")


def lock_cell(folder: str | Path, cell: Cell) -> AbstractContextManager[None]:
    """Keep other processes out of a cell's folder, as its training does (see `files.lock_folder`)."""
    return lock_folder(cell_folder(folder, cell), doing="is training here")


def prepare(folder: str | Path, cell: Cell) -> bool:
    """Make the folder of a cell ready to train in; returns False where the cell is done already.

    Raises:
        LockedError: another process trains it.
    """
    home = cell_folder(folder, cell)
    if cell_state(folder, cell) == "done":
        return False
    try:
        home.mkdir(parents=True, exist_ok=True)
        with lock_cell(folder, cell):
            if cell_state(folder, cell) == "done":  # by another process, just now
                return False
            for mark in ("error.txt", "done"):  # `done` without a valid result is not true
                (home / mark).unlink(missing_ok=True)
    except OSError as error:
        raise files.unwritable(home, error) from error
    return True


def why_no_result(folder: str | Path, cell: Cell) -> str:
    """Return what to report where a training has ended well and its cell is not done."""
    path = cell_folder(folder, cell) / "result.json"
    result = files.read_json(path) if path.is_file() else {}
    if isinstance(result, dict) and result.get("hash", cell["hash"]) != cell["hash"]:
        return f"trained on other data or weights than the plan's (hash {result['hash']}, expected {cell['hash']})"
    return "ended without a result (result.json with the cell's hash, and done)"


def train_cell(cell: Cell, home: Path, *, quiet: bool = False) -> None:
    """Train and measure a cell in this process (see `engine.train.run`)."""
    from smoothiou.engine.train import run

    shared = str(features_folder(home.parent.parent))
    gc.collect()  # the cell before, whose images and features would stay beside those of this one
    run(RunConfig().replace({**cell["settings"], "train.feature_folder": shared}), home, quiet=quiet)


def run_cells(
    folder: str | Path,
    plan: Mapping[str, Any],
    train: Callable[[Cell, Path], object] = train_cell,
    *,
    on_event: Callable[[CellEvent], object] = ignore_event,
) -> dict[str, int]:
    """Train the cells of a study that are not done, one after the other.

    A cell that fails leaves error.txt and does not stop the others; the same call tries it again.

    Args:
        folder: of the study.
        plan: from `make_plan`.
        train: `train(cell, its folder)` must leave result.json with the cell's hash, and then the file `done`.
        on_event: called with each `CellEvent`.

    Returns:
        How many cells ended how (see `Tally`).

    Raises:
        InterruptedRun: as is KeyboardInterrupt, from `train`; the same call continues from the cell's saved state.
    """
    tally = Tally(plan, on_event)
    for cell in tally.cells:
        try:
            if not prepare(folder, cell):
                tally.add("skipped", cell)
                continue
        except LockedError as error:
            tally.add("busy", cell, message=error.message)
            continue
        tally.add("start", cell)
        began = time.monotonic()
        try:
            train(cell, cell_folder(folder, cell))
            kind, message, details = "done", "", ""
            if cell_state(folder, cell) != "done":
                kind, message = "failed", why_no_result(folder, cell)
        except LockedError as error:
            kind, message, details = "busy", error.message, ""
        except (InterruptedRun, KeyboardInterrupt) as stop:
            tally.add("stopped", cell, seconds=time.monotonic() - began, message=str(stop))
            raise
        except Exception as error:
            kind, message = "failed", " ".join(f"{type(error).__name__}: {error}".split())
            details = traceback.format_exc()
        if kind == "failed":
            write_error(folder, cell, message, details)
        tally.add(kind, cell, seconds=time.monotonic() - began, message=message)
    return tally.counts
