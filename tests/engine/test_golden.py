"""Five steps of a tiny training, against numbers that were written down: a change that moves them must be meant.

After such a change: `python -m tests.engine.test_golden` from the repository's root, and say why in the commit.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest

from smoothiou.engine.config import RunConfig
from smoothiou.engine.train import run

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LOSSES = ("huber", "smooth-iou")
COLUMNS = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "roi_mean_iou", "grad_norm")


def trace(loss: str, folder: Path) -> list[dict[str, str]]:
    settings = {
        "data.path": "shapes", "data.images": 12, "data.size": 64, "model.min_size": 64, "model.max_size": 64,
        "train.steps": 5, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
        "loss.name": loss,
    }  # fmt: skip
    run(RunConfig().replace(settings), folder, quiet=True)
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_tiny_training_follows_its_golden_trace(loss, tmp_path):
    golden = list(csv.DictReader((GOLDEN / f"{loss}.csv").read_text().splitlines()))
    found = trace(loss, tmp_path / "RUN")
    assert len(found) == len(golden) == 5
    for step, (ours, theirs) in enumerate(zip(found, golden, strict=True), 1):
        # Sums of another processor differ in their last bits, and five steps of training make that larger.
        tolerance = 1e-4 if step == 1 else 5e-2
        for column in COLUMNS:
            assert float(ours[column]) == pytest.approx(float(theirs[column]), rel=tolerance, abs=1e-4), (step, column)


def test_both_losses_start_from_the_same_weights_batch_and_sample():
    first = [next(csv.DictReader((GOLDEN / f"{loss}.csv").read_text().splitlines())) for loss in LOSSES]
    for column in ("loss_objectness", "loss_classifier", "roi_mean_iou"):
        assert first[0][column] == first[1][column]
    assert first[0]["loss_box_reg"] != first[1]["loss_box_reg"]


if __name__ == "__main__":
    for name in LOSSES:
        with tempfile.TemporaryDirectory() as empty:
            rows = trace(name, Path(empty) / "RUN")
        with (GOLDEN / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ("step", *COLUMNS), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
