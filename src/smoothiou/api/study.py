"""A study's folder, as an object: its table, its verdict in words, its runs."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.errors import IncompleteStudyError
from smoothiou.report import loaded_study
from smoothiou.report.loaded_study import LoadedStudy

if TYPE_CHECKING:
    from smoothiou.engine.predictor import Run
    from smoothiou.report.table import Table


class Study:
    """What a comparison of losses left in its folder, finished or not. In a notebook it shows verdict and table.

    Args:
        folder: that `smoothiou compare` has written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict())}</p>{self.summary()._repr_html_()}"

    @functools.cached_property
    def loaded(self) -> LoadedStudy:
        """Everything that its files tell, as the report shows it.

        Raises:
            DataError: the folder holds no readable plan.json.
        """
        return loaded_study.load_study(self.folder)

    @property
    def page(self) -> Path:
        """The report as a page, report.html."""
        return self.folder / "report.html"

    @property
    def losses(self) -> list[str]:
        """The names of the losses, baseline first."""
        return self.loaded.losses

    @property
    def seeds(self) -> list[int]:
        """The planned seeds."""
        return self.loaded.seeds

    @property
    def missing(self) -> list[str]:
        """The ids of the cells that failed, or have not been trained yet."""
        return [cell["id"] for cell in self.loaded.summary["cells"] if cell["status"] != "done"]

    def summary(self) -> Table:
        """Return the result as a table: AP and AP75 of each loss in %, and the difference to the baseline.

        Returns:
            A table that a notebook renders, and that `print` shows as aligned text. An interval is of 95 %, over seeds
            and test images.

        Reference:
            docs/statistics.md.
        """
        from smoothiou.report.tables import result_table

        return result_table(self.loaded)

    def verdict(self) -> str:
        """Return which loss to use, or that it is not known, in the words that the report begins with."""
        return self.loaded.summary["headline"]["text"]

    def next_steps(self) -> list[str]:
        """Return sentences on what would make the result known, the most urgent first."""
        from smoothiou.report.advice import next_steps

        return next_steps(self.loaded)

    def best(self) -> Run:
        """Return the run to use: of the highest AP among those of the loss that is known to be better, else of all.

        Returns:
            A run; its detector is read at the first use.

        Raises:
            DataError: no run of the study is finished.
        """
        from smoothiou.engine.predictor import Run
        from smoothiou.report.study_runs import run_of

        return Run(run_of(self.folder)[0])

    def run(self, loss: str, seed: int) -> Run:
        """Return one run by its loss and seed.

        Args:
            loss: as in `losses`.
            seed: as in `seeds`.

        Raises:
            KeyError: the study has no such cell.
        """
        from smoothiou.engine.predictor import Run

        ids = {(cell["loss"], cell["seed"]): cell["id"] for cell in self.loaded.summary["cells"]}
        return Run(self.folder / "cells" / ids[loss, seed])

    def refuse_missing(self, *, details: Mapping[str, Any] | None = None) -> None:
        """Raise where cells have no result.

        Args:
            details: facts for programs, which the error carries.

        Raises:
            IncompleteStudyError: with the cells, and where to look.
        """
        if not (missing := self.missing):
            return
        failed = [self.folder / "cells" / cell for cell in missing]
        failed = [folder for folder in failed if (folder / "error.txt").is_file()]
        advice = f"See error.txt in {failed[0]}" if failed else "Another process runs them: wait for it"
        raise IncompleteStudyError(
            f"{self.folder}: {len(missing)} of {len(self.loaded.summary['cells'])} cells are missing: "
            f"{', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}; the report shows the others.",
            hint=f"{advice}; the same command tries them again.",
            details=details,
        )


def load_study(folder: str | Path) -> Study:
    """Return a study by its folder, finished or not; nothing is trained.

    Args:
        folder: that `smoothiou compare` has written.

    Returns:
        The study: `summary()`, `verdict()`, `best()`.

    Raises:
        DataError: the folder holds no readable plan.json.
    """
    study = Study(folder)
    _ = study.loaded  # a fault is met here
    return study
