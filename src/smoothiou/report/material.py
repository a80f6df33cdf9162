"""What a report is made of: the collected study, its training curves and machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.errors import DataError
from smoothiou.files import read_json
from smoothiou.report.training_curves import Curve, read_curves
from smoothiou.study.results import collect
from smoothiou.study.weights import read_calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number per run, and how it is written.

    Args:
        key: its name in result.json.
        name: its name in a table.
        percent: written times 100 with two decimals (the paper's Table 3), else with four (its Table 2).
    """

    key: str
    name: str
    percent: bool = True


LOCALIZATION = (
    Metric(key="mean_iou", name="Mean IoU, all boxes", percent=False),
    Metric(key="mean_iou_positive", name="positives only", percent=False),
    Metric(key="mean_iou_matched", name="matched", percent=False),
    Metric(key="refined_mean_iou", name="refined", percent=False),
    Metric(key="refined_above_75", name="refined > .75"),
    Metric(key="refined_above_85", name="refined > .85"),
    Metric(key="refined_above_90", name="refined > .9"),
)
DETECTION = (
    Metric(key="AP50", name="AP50"),
    Metric(key="AP75", name="AP75"),
    Metric(key="AP", name="AP"),
    Metric(key="AR1", name="AR@1"),
    Metric(key="AR10", name="AR@10"),
)
METRICS = {metric.key: metric for metric in (*LOCALIZATION, *DETECTION)}


def full_name(metric: Metric) -> str:
    """Return the name that a metric has outside the localization table."""
    return f"Mean IoU, {metric.name}" if metric.name in ("positives only", "matched", "refined") else metric.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A study as its files tell it.

    Args:
        folder: the study folder.
        summary: what `smoothiou.study.results.collect` says.
        curves: cell id -> column of metrics.csv -> its measured points.
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
        """Return plan.json."""
        return self.summary["plan"]

    @property
    def losses(self) -> list[str]:
        """Return the names of the losses, baseline first."""
        baseline = self.baseline
        return [baseline, *(loss for loss in self.plan["losses"] if loss != baseline)]

    @property
    def baseline(self) -> str:
        """Return the loss that all others are compared to."""
        return self.plan.get("baseline") or self.plan["losses"][0]

    @property
    def candidates(self) -> list[str]:
        """Return every loss but the baseline."""
        return self.losses[1:]

    @property
    def seeds(self) -> list[int]:
        """Return the planned seeds."""
        return list(self.plan["seeds"])

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Return the cells that have a result."""
        return [cell for cell in self.summary["cells"] if cell.get("result")]

    @property
    def unfinished(self) -> list[dict[str, Any]]:
        """Return the cells that failed or never ran."""
        return [cell for cell in self.summary["cells"] if not cell.get("result")]

    @property
    def gallery(self) -> list[dict[str, Any]]:
        """Return the images where the losses disagree most; empty when none were chosen."""
        return self.summary["gallery"]

    @property
    def probe(self) -> dict[str, Any]:
        """Return what the refinement probes of all cells say together; empty where a comparison holds none."""
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


def read_material(folder: str | Path) -> Material:
    """Read everything that a report shows of a study.

    Args:
        folder: a study folder, finished or not.

    Raises:
        SmoothIoUError: it holds no readable plan.json.
    """
    folder = Path(folder)
    summary = collect(folder)
    curves, manifests = {}, {}
    for cell in summary["cells"]:
        home = folder / "cells" / cell["id"]
        curves[cell["id"]] = read_curves(home / "metrics.csv")
        manifests[cell["id"]] = _optional_json(home / "manifest.json")
    calibration = read_calibration(folder)
    return Material(folder=folder, summary=summary, curves=curves, manifests=manifests, calibration=calibration)


def _optional_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except DataError:
        return {}  # a cell that never started, or was killed while it began, has no manifest
    return content if isinstance(content, dict) else {}
