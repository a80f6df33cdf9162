"""metrics.csv: the numbers of a running training."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from smoothiou.files import unwritable, write_text

COLUMNS: tuple[str, ...] = (
    "step", "epoch", "seconds", "lr", "loss",
    "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "grad_norm",
    "rpn_lambda", "rpn_mean_iou", "rpn_positives", "roi_lambda", "roi_mean_iou", "roi_positives",
    "val_AP", "val_AP50", "val_mean_iou",
    "val_loss", "val_loss_objectness", "val_loss_rpn_box_reg", "val_loss_classifier", "val_loss_box_reg",
)  # fmt: skip


class MetricsCsv:
    """Appends rows to metrics.csv; a resumed run first drops the rows past its checkpoint, to come again.

    Args:
        path: of the file.
        resume_step: rows up to this step stay.
        more: columns behind `COLUMNS`, of a detector with more stages.
    """

    def __init__(self, path: Path, *, resume_step: int, more: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = (*COLUMNS, *more)
        rows = [row for row in read_metrics(path) if int(row["step"]) <= resume_step] if path.is_file() else []
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, buffer.getvalue())

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row and flush it, so that a crash loses at most the row being written."""
        cells = {key: _number(row[key]) for key in self.columns if key in row}
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(cells)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def sync(self) -> None:
        """Bring the rows to the disk, where a power cut cannot take them."""
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
