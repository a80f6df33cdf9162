"""A study as its files tell it: the collected results, training curves and manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.errors import DataError
from smoothiou.files import read_json
from smoothiou.report.training_curves import Curve, read_curves
from smoothiou.study.results import collect
from smoothiou.study.stage_weights import read_calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedStudy:
    """Everything that a report shows of a study.

    Args:
        folder: the study folder.
        summary: what `smoothiou.study.results.collect` returns.
        curves: cell id -> column of metrics.csv -> its points.
        manifests: cell id -> manifest.json.
        calibration: calibration.json, or None where the losses were not calibrated.
    """

    folder: Path
    summary: dict[str, Any]
    curves: dict[str, dict[str, Curve]]
    manifests: dict[str, dict[str, Any]]
    calibration: dict[str, Any] | None = None

    @property
    def plan(self) -> dict[str, Any]:
        """plan.json."""
        return self.summary["plan"]

    @property
    def baseline(self) -> str:
        """The loss that all others are compared with."""
        return self.plan.get("baseline") or self.plan["losses"][0]

    @property
    def losses(self) -> list[str]:
        """The names of the losses, baseline first."""
        return [self.baseline, *(loss for loss in self.plan["losses"] if loss != self.baseline)]

    @property
    def candidates(self) -> list[str]:
        """Every loss but the baseline."""
        return self.losses[1:]

    @property
    def seeds(self) -> list[int]:
        """The planned seeds."""
        return list(self.plan["seeds"])

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The cells that have a result."""
        return [cell for cell in self.summary["cells"] if cell.get("result")]

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """The cells that failed or never ran."""
        return [cell for cell in self.summary["cells"] if not cell.get("result")]

    @property
    def gallery(self) -> list[dict[str, Any]]:
        """The images where the losses disagree most; empty when none were chosen."""
        return self.summary["gallery"]

    @property
    def probe(self) -> dict[str, Any]:
        """The refinement probes of all cells together; empty where there are none."""
        return self.summary.get("probe") or {}

    def results(self, loss: str) -> dict[int, dict[str, Any]]:
        """Return seed -> result.json of the finished cells of a loss."""
        return {cell["seed"]: cell["result"] for cell in self.finished if cell["loss"] == loss}

    def paired(self, candidate: str) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Return (seed, baseline's result, candidate's result) for every seed that both finished."""
        base, other = self.results(self.baseline), self.results(candidate)
        return [(seed, base[seed], other[seed]) for seed in self.seeds if seed in base and seed in other]

    def seed_values(self, loss: str, metric: str) -> dict[int, float]:
        """Return seed -> value of a metric, for the runs where it is defined."""
        return self.summary["summary"][loss].get(metric, {}).get("values", {})

    def seed_differences(self, candidate: str, metric: str) -> dict[int, float]:
        """Return seed -> candidate minus baseline, for the seeds where both are defined."""
        base, other = self.seed_values(self.baseline, metric), self.seed_values(candidate, metric)
        return {seed: other[seed] - base[seed] for seed in base if seed in other}

    def difference(self, candidate: str, metric: str) -> dict[str, Any] | None:
        """Return the paired difference with its interval over seeds, or None where no seed has both."""
        for entry in self.summary["differences"]:
            if entry["candidate"] == candidate and entry["metric"] == metric and entry.get("mean") is not None:
                return entry
        return None


def load_study(folder: str | Path) -> LoadedStudy:
    """Read everything that a report shows of a study, finished or not.

    Raises:
        SmoothIoUError: the folder holds no readable plan.json.
    """
    folder = Path(folder)
    summary = collect(folder)
    cells = {cell["id"]: folder / "cells" / cell["id"] for cell in summary["cells"]}
    return LoadedStudy(
        folder=folder,
        summary=summary,
        curves={cell: read_curves(path / "metrics.csv") for cell, path in cells.items()},
        manifests={cell: _optional_json(path / "manifest.json") for cell, path in cells.items()},
        calibration=read_calibration(folder),
    )


def _optional_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except DataError:
        return {}  # a cell that never started, or was killed while it began, has no manifest
    return content if isinstance(content, dict) else {}
