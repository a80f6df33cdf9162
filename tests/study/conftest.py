"""Plans and cells that take no time: what a study looks like without a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smoothiou import files, manifest
from smoothiou.engine.config import RunConfig
from smoothiou.metrics.signature import DETECTION, LOCALIZATION
from smoothiou.study import cell_folder, make_plan, write_or_continue
from smoothiou.study.results import METRICS

Plan = dict[str, Any]


@pytest.fixture(autouse=True)
def _fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans remember the version; tests must not depend on what is installed."""
    monkeypatch.setattr(manifest, "version", lambda: "0.1.0")


def facts(split: str, fingerprint: str) -> dict[str, Any]:
    return {
        "name": "bccd",
        "format": "voc",
        "split": split,
        "fingerprint": fingerprint,
        "counts": {"images": 72},
    }


DATA = {"train": facts("train", "aaaa1111"), "val": None, "test": facts("test", "3c1f9a2b")}


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """Give a function that makes a plan: settings by dotted key (dots as double underscores)."""

    def make(
        losses: tuple[str, ...] = ("huber", "smooth-iou"),
        seeds: tuple[int, ...] = (0, 1),
        *,
        baseline: str | None = None,
        data: dict[str, Any] | None = None,
        weights: dict[str, dict[str, float]] | None = None,
        **changes: Any,
    ) -> Plan:
        config = RunConfig().replace({key.replace("__", "."): value for key, value in changes.items()})
        return make_plan(
            config,
            losses=losses,
            seeds=seeds,
            baseline=baseline,
            data=data or DATA,
            classes=["RBC", "WBC"],
            command=["smoothiou", "compare", "bccd"],
            weights=weights,
        )

    return make


def result_of(cell: dict[str, Any], **metrics: float | None) -> dict[str, Any]:
    """Return a whole result.json of a cell; every metric is 0.5 unless given."""
    values = {**dict.fromkeys((*DETECTION, *LOCALIZATION), 0.5), **metrics}
    empty = [0] * 20
    return {
        "schema_version": 1,
        "loss": cell["loss"],
        "seed": cell["seed"],
        "metrics": {key: values[key] for key in DETECTION},
        "ap_by_iou": {"0.50": 0.5},
        "per_class": {"RBC": 0.5},
        "localization": {
            **{key: values[key] for key in LOCALIZATION},
            "raw_boxes": 100,
            "histogram": {
                "edges": [0.05 * i for i in range(21)],
                "matched": empty,
                "raw": empty,
                "refined": empty,
            },
        },
        "cost": {"train_seconds": 90.0, "eval_seconds": 10.0, "device": "cpu", "precision": "fp32"},
        "optim": {"lr": 0.001},
        "signature": "AP|coco",
        "data": {"test": {"name": "bccd", "split": "test", "fingerprint": "3c1f9a2b", "images": 72, "boxes": 900}},
        "versions": {"smoothiou": "0.1.0", "torch": "2.15.0", "hotcoco": "1.3.0"},
        "hash": cell["hash"],
        "finished": "2026-11-22T12:00:00+0000",
    }


@pytest.fixture
def finish() -> Callable[..., Path]:
    """Give a function that leaves what a finished cell leaves: `finish(study, cell, AP=0.4)`."""

    def write(folder: Path, cell: dict[str, Any], **metrics: float | None) -> Path:
        home = cell_folder(folder, cell)
        files.write_json(home / "result.json", result_of(cell, **metrics))
        files.write_text(home / "done", "")
        return home

    return write


@pytest.fixture
def study(plan_of, finish, tmp_path: Path):
    """Give a function that writes a study: metrics by loss, one per seed; None for a cell that never ran."""

    def make(values: dict[str, list[dict | None]], **options) -> Path:
        seeds = tuple(range(len(next(iter(values.values())))))
        plan, _ = write_or_continue(tmp_path, plan_of(tuple(values), seeds, **options))
        for cell in plan["cells"]:
            metrics = values[cell["loss"]][cell["seed"]]
            if metrics is not None:
                finish(tmp_path, cell, **metrics)
        return tmp_path

    return make


def row(summary: dict, candidate: str, metric: str) -> dict:
    (found,) = [d for d in summary["differences"] if (d["candidate"], d["metric"]) == (candidate, metric)]
    return found


def with_uncertainty(folder: Path, covariance: float, *, images: int = 80, candidate: str = "smooth-iou") -> Path:
    rows = [{"candidate": candidate, "metric": metric, "covariance": covariance, "seeds": 3} for metric in METRICS]
    files.write_json(folder / "comparison.json", {"covariances": rows, "images": images})
    return folder
