"""A study in the place of a run: which of its runs is meant."""

from __future__ import annotations

from pathlib import Path

from smoothiou.errors import DataError


def run_of(folder: Path) -> tuple[Path, str]:
    """Return a run folder, of a study the best run of its best loss, and a line that says so ("" for a run).

    Raises:
        DataError: no run of the study is finished.
    """
    if not (folder / "plan.json").is_file():
        return folder, ""
    from smoothiou.report.advice import best_run
    from smoothiou.report.loaded_study import load_study

    best = best_run(load_study(folder))
    if best is None:
        raise DataError(f"{folder}: no run of this study is finished.", hint="Give its `smoothiou compare` again.")
    run = folder / "cells" / best["id"]
    return run, f"{folder} is a study; taken: {run}, the run of the highest AP ({best['ap']}) {best['among']}."
