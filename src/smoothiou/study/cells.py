"""The cells of a study: their state, read from their folders, and running them one by one. No torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smoothiou import files
from smoothiou.errors import DataError, InterruptedRun
from smoothiou.files import claim_folder, hold, holder

Cell = Mapping[str, Any]
State = Literal["done", "failed", "partial", "new"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellEvent:
    """Something that happened to a cell, for whoever shows progress.

    Args:
        kind: "skipped" (was done before), "busy" (another process has it), "start", "done", "failed", "stopped"
            (by a signal; its state is saved), or "retried" (the machine that ran it is lost).
        cell: its entry in the plan.
        number: its place in the plan, from 1.
        total: cells in the plan.
        seconds: how long it ran.
        message: for "failed", "stopped", "busy" and "retried", one line.
    """

    kind: Literal["skipped", "busy", "start", "done", "failed", "stopped", "retried"]
    cell: Cell
    number: int
    total: int
    seconds: float = 0.0
    message: str = ""


def ignore_event(event: CellEvent) -> None:
    """Show nothing."""


def cell_folder(folder: str | Path, cell: Cell) -> Path:
    """Return the folder of a cell inside its study's."""
    return Path(folder) / "cells" / cell["id"]


def cell_state(folder: str | Path, cell: Cell) -> State:
    """Return what a cell's folder says.

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
    """Return result.json of a cell that is done; None when it is not, or the file is broken or another's."""
    home = cell_folder(folder, cell)
    if not (home / "done").is_file():
        return None
    try:
        result = files.read_json(home / "result.json")
    except DataError:
        return None
    return result if isinstance(result, dict) and result.get("hash") == cell["hash"] else None


def read_error(folder: str | Path, cell: Cell) -> str:
    """Return the first line of a cell's error.txt: what went wrong; "" where there is none."""
    try:
        text = (cell_folder(folder, cell) / "error.txt").read_text(errors="replace").strip()
    except OSError:
        return ""
    return text.splitlines()[0] if text else "unknown"


def write_error(folder: str | Path, cell: Cell, message: str, details: str) -> None:
    """Write error.txt: the message as its first line, then the details (a traceback, the end of a log)."""
    files.write_text(cell_folder(folder, cell) / "error.txt", f"{message}\n\n{details.rstrip()}\n")


def prepare(folder: str | Path, cell: Cell) -> None:
    """Make the folder of a cell that is to run, and take away the marks of an earlier end."""
    home = cell_folder(folder, cell)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for mark in ("error.txt", "done"):  # `done` without a valid result is no longer true
            (home / mark).unlink(missing_ok=True)
    except OSError as error:
        raise files.unwritable(home, error) from error


def claim_study(folder: str | Path) -> AbstractContextManager[None]:
    """Keep other commands out of a study while one works on it (see `claims.claim_folder`)."""
    return claim_folder(Path(folder), doing="is working on this study")


def claim(folder: str | Path, cell: Cell) -> AbstractContextManager[int | None]:
    """Hold a cell while it runs, so that no other process runs it (see `claims.hold`)."""
    return hold(_lock(folder, cell))


def claimed_by(folder: str | Path, cell: Cell) -> str:
    """Return who runs a cell that could not be claimed, as "process 123 on machine"."""
    return holder(_lock(folder, cell))


def _lock(folder: str | Path, cell: Cell) -> Path:
    return Path(folder) / "cells" / f".{cell['id']}.lock"


def run_cells(
    folder: str | Path,
    plan: Mapping[str, Any],
    run_cell: Callable[[Cell, Path], object],
    *,
    on_event: Callable[[CellEvent], object] = ignore_event,
) -> dict[str, int]:
    """Run the cells of a study one after the other, seed by seed, so that complete pairs come first.

    A cell that is done is skipped. One that fails leaves error.txt and does not stop the others; the same
    call tries it again.

    Args:
        folder: of the study.
        plan: from `smoothiou.study.plan`.
        run_cell: `run_cell(cell, its folder)` trains and measures; it must leave result.json with the cell's
            hash, and then the file `done`.
        on_event: is told what happens.

    Returns:
        How many cells were "done" now, "skipped" as done before, "failed", or "busy" in another process.

    Raises:
        InterruptedRun: passed on, as is KeyboardInterrupt: the cell's saved state is where the same call
            continues.
    """
    cells = in_order(plan)
    counts = {"done": 0, "skipped": 0, "failed": 0, "busy": 0}
    for number, cell in enumerate(cells, 1):

        def tell(kind: Any, cell: Cell = cell, number: int = number, **facts: Any) -> None:
            on_event(CellEvent(kind=kind, cell=cell, number=number, total=len(cells), **facts))

        facts: dict[str, Any] = {}
        with claim(folder, cell) as claimed:
            if cell_state(folder, cell) == "done":  # asked under the claim: another process may just have finished it
                outcome = "skipped"
            elif claimed is None:
                outcome = "busy"
                facts["message"] = f"{claimed_by(folder, cell)} runs it"
            else:
                prepare(folder, cell)
                tell("start")
                started = time.monotonic()
                try:
                    message = _attempt(folder, cell, run_cell)
                except (InterruptedRun, KeyboardInterrupt) as stop:
                    tell("stopped", seconds=time.monotonic() - started, message=str(stop))
                    raise
                outcome = "failed" if message else "done"
                facts |= {"seconds": time.monotonic() - started, "message": message}
        counts[outcome] += 1
        tell(outcome, **facts)
    return counts


def in_order(plan: Mapping[str, Any]) -> list[Cell]:
    """Return the cells seed by seed, in each the losses in the order of the plan."""
    seeds = {seed: place for place, seed in enumerate(plan["seeds"])}
    return sorted(plan["cells"], key=lambda cell: seeds.get(cell["seed"], len(seeds)))


def _attempt(folder: str | Path, cell: Cell, run_cell: Callable[[Cell, Path], object]) -> str:
    """Run a cell and return "", or what went wrong in one line after writing error.txt."""
    try:
        run_cell(cell, cell_folder(folder, cell))
    except InterruptedRun:
        raise
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        write_error(folder, cell, message, traceback.format_exc())
        return message
    if cell_state(folder, cell) != "done":
        message = NO_RESULT
        write_error(
            folder,
            cell,
            message,
            f"Expected in {cell_folder(folder, cell)}: result.json, hash {cell['hash']}.",
        )
        return message
    return ""


NO_RESULT = "ended without a result of this cell (result.json with its hash, and done)"
