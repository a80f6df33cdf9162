"""Where the numbers of a running training go: metrics.csv for programs, a progress line with ETA for people."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from smoothiou.files import unwritable, write_text
from smoothiou.progress import LiveLine, clock

COLUMNS: tuple[str, ...] = (
    "step", "epoch", "seconds", "lr", "loss",
    "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "grad_norm",
    "rpn_lambda", "rpn_mean_iou", "rpn_positives", "roi_lambda", "roi_mean_iou", "roi_positives",
    "val_AP", "val_AP50", "val_mean_iou",
)  # fmt: skip


class Sink(Protocol):
    """Anything that takes rows of numbers."""

    def write(self, row: Mapping[str, float]) -> None:
        """Take one row; `step` is always there, other columns may be missing."""
        ...


class MetricsCsv:
    """Appends rows to metrics.csv; a resumed run first drops the rows past its checkpoint, to come again."""

    def __init__(self, path: Path, *, resume_step: int) -> None:
        self.path = path
        rows = [row for row in read_metrics(path) if int(row["step"]) <= resume_step] if path.is_file() else []
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, buffer.getvalue())

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row and flush it, so that a crash loses at most the row being written."""
        cells = {key: _number(row[key]) for key in COLUMNS if key in row}
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n").writerow(cells)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def settle(self) -> None:
        """Have the system write the rows to the disk, where a power cut cannot take them."""
        try:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the complete rows of a metrics.csv (a row cut off by a crash is left out)."""
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and str(row.get("step")).isdigit()]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


class Progress(LiveLine):
    """A live line with loss, rate and ETA.

    Args:
        steps: length of the run.
        start: step at which it begins or continues.
        label: what is being trained.
        seconds: between lines in a log.
        quiet: show nothing.
    """

    def __init__(self, *, steps: int, start: int, label: str, seconds: float = 15.0, quiet: bool = False) -> None:
        super().__init__(seconds=seconds, quiet=quiet)
        self.steps, self.start, self.label = steps, start, label

    def write(self, row: Mapping[str, float]) -> None:
        """Show a row, when it is time to."""
        step = int(row["step"])
        if "loss" not in row or not self.is_due(forced=step == self.steps):
            return
        pace = self.spent / max(1, step - self.start)
        text = (
            f"{self.label}  step {step}/{self.steps}  loss {row['loss']:.3f}  lr {row['lr']:.1e}"
            f"  {pace:.2f} s/step  ETA {clock(pace * (self.steps - step))}"
        )
        if "roi_mean_iou" in row and row["roi_mean_iou"] == row["roi_mean_iou"]:
            text += f"  IoU {row['roi_mean_iou']:.2f}"
        self.show(text, share=step / self.steps)
