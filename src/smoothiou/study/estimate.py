"""What a study will cost in steps, disk space and time, before it runs. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smoothiou.detectors.registry import detector_info
from smoothiou.study.cells import cell_folder, cell_state, read_result
from smoothiou.words import counted

OPTIMIZER_STATES = {"adamw": 2, "sgd": 1, "rmsprop": 2, "tf-rmsprop": 2}
"""Numbers that an optimizer keeps for each weight."""


def estimate(
    plan: Mapping[str, Any],
    folder: str | Path | None = None,
    *,
    jobs: int = 1,
    time_run: Callable[[], tuple[float, str]] | None = None,
) -> dict[str, Any]:
    """Return what a study will cost, for `--dry-run`.

    Args:
        plan: from `make_plan` or `write_or_continue`.
        folder: of the study, whose finished cells give seconds and disk space; None where there is none yet.
        jobs: cells that run at once.
        time_run: gives the seconds of a run and how they were estimated; called only where no cell is finished.

    Returns:
        cells, done, to_run, steps (still to take), disk_mb (of all cells), disk_free_mb (None without a
        folder), run_seconds (of one cell) and seconds (of those still to run), None where nothing tells, and basis: in
        words, what the estimate is based on.
    """
    cells, settings = plan["cells"], plan["settings"]
    done = [cell for cell in cells if folder is not None and cell_state(folder, cell) == "done"]
    to_run = len(cells) - len(done)
    if folder is not None and done:
        costs = [(read_result(folder, cell) or {}).get("cost", {}) for cell in done]
        each = [(cost.get("train_seconds") or 0) + (cost.get("eval_seconds") or 0) for cost in costs]
        run_seconds = sum(each) / len(each)
        megabytes = sum(_size(cell_folder(folder, cell)) for cell in done) / len(done) / 1e6
        basis = counted(len(done), "finished cell")
    else:
        # best.ckpt holds weights of 4 bytes, last.ckpt weights and the optimizer's states; 5 MB for all else.
        copies = 2 + OPTIMIZER_STATES.get(settings["optim.name"], 2)
        megabytes = 4 * detector_info(settings["model.name"]).parameters_m * copies + 5
        run_seconds, timed = time_run() if time_run else (None, "time is known after the first cell")
        basis = f"the size of the model; {timed}"
    rounds = -(-to_run // max(1, min(jobs, to_run or 1)))
    return {
        "cells": len(cells),
        "done": len(done),
        "to_run": to_run,
        "steps": to_run * settings["train.steps"],
        "disk_mb": round(megabytes * len(cells)),
        "disk_free_mb": _free_mb(Path(folder)) if folder is not None else None,
        "run_seconds": run_seconds,
        "seconds": None if run_seconds is None else run_seconds * rounds,
        "basis": basis,
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _free_mb(folder: Path) -> int:
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.is_dir())
    return round(shutil.disk_usage(existing).free / 1e6)
