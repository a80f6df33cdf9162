"""Work of one of several processes in test_processes.py: trainings with the given settings, one after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import choose_placement
from smoothiou.engine.evaluate import open_run
from smoothiou.engine.measure import measure
from smoothiou.engine.open_data import open_splits
from smoothiou.engine.train import run


def train_all(cases: dict[str, dict[str, object]], folder: Path) -> None:
    """Train each case in a folder of its own."""
    torch.set_num_threads(1)
    for name, settings in cases.items():
        run(RunConfig().replace(settings), folder / name, quiet=True)


def measure_again(finished: Path, out: Path) -> None:
    """Measure a finished run's weights in all processes, and write what rank 0 gets."""
    opened = open_run(finished, checkpoint="last", device="cpu")
    placement = choose_placement("cpu", "fp32", distributed=True)
    test = open_splits(opened.config.data).test
    measured = measure(opened.model, test, opened.config, placement, label="", quiet=True)
    if measured is None:
        assert placement.rank > 0
        return
    numbers = {"predictions": measured.predictions, "images": measured.images, **measured.metrics}
    out.write_text(json.dumps(numbers))


if __name__ == "__main__":
    train_all(json.loads(sys.argv[1]), Path(sys.argv[2]))
    measure_again(Path(sys.argv[3]), Path(sys.argv[4]))
