"""One training in one process and in several, for every kind of lambda: what differs, and by how much.

    python benchmarks/two_processes.py                  # 1 and 2 processes on the CPU, about 2 minutes on 2 cores
    python benchmarks/two_processes.py --processes 3 --steps 8 --model inception-v2

Prints, for each loss, the loss, lambda of the second stage and norm of the gradient of each step, and the largest
difference: of these numbers relative to their size, and of weights relative to the largest change of a weight in the
training. Rounding differs, since sums are over other parts; nothing else should, until rounding has tipped a decision
(which proposal survives, which is positive), after which two trainings go their own ways.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOSSES: tuple[str, ...] = (
    "huber", "giou", "smooth-iou", "smooth-iou[lam=box]", "smooth-iou[lam=image]", "smooth-iou[lam=ema]",
    "smooth-iou[lam=0.25]",
)  # fmt: skip
SETTINGS = {
    "data.path": "shapes", "data.images": 13, "data.size": 96, "model.min_size": 96, "model.max_size": 96,
    "train.batch_size": 4, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
    "optim.name": "sgd", "optim.lr": 0.01, "eval.batch_size": 2,
}  # fmt: skip
COLUMNS = ("loss", "roi_lambda", "grad_norm")


def work(folder: Path, settings: dict[str, object], losses: list[str]) -> None:
    """Train with each loss, in as many processes as torchrun has started."""
    import torch

    from smoothiou.engine.config import RunConfig
    from smoothiou.engine.train import run

    torch.set_num_threads(1)
    for number, loss in enumerate(losses):
        run(RunConfig().replace({**settings, "loss.name": loss}), folder / str(number), quiet=True)


def launch(folder: Path, *, processes: int, settings: dict[str, object], losses: list[str]) -> None:
    """Start `work` in so many processes and wait for them."""
    words = [__file__, "--work", str(folder), json.dumps(settings), json.dumps(losses)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *(torchrun if processes > 1 else []), *words], env=environment, check=True)


def rows_of(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def largest_difference(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """Return the largest difference of losses, lambda and gradient norms, relative to their size."""
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) for key in COLUMNS if key in a]
    return max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)


def weight_difference(ours: Path, theirs: Path, start: Path) -> float:
    """Return the largest difference of two trained weights, relative to the largest change since `start`."""
    import torch

    a, b, zero = (torch.load(folder / "last.ckpt", weights_only=True)["model"] for folder in (ours, theirs, start))
    floats = [key for key, value in a.items() if value.is_floating_point()]
    apart = max(float((a[key] - b[key]).abs().max()) for key in floats)
    return apart / max(float((a[key] - zero[key]).abs().max()) for key in floats)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="images a step, in all processes together")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    settings = {
        **SETTINGS, "train.steps": arguments.steps, "train.batch_size": arguments.batch, "model.name": arguments.model,
    }  # fmt: skip
    several = arguments.processes
    with tempfile.TemporaryDirectory() as name:
        root, losses = Path(name), [*LOSSES]
        # A rate so small that weights stay where they start, up to the statistics of batch norms.
        work(root / "start", {**settings, "optim.lr": 1e-12, "train.steps": 1}, losses[:1])
        for count in (1, several):
            launch(root / str(count), processes=count, settings=settings, losses=losses)
        print(f"{arguments.model}, {arguments.batch} images a step, float32, CPU, one thread a process")
        for number, loss in enumerate(losses):
            one, more = root / "1" / str(number), root / str(several) / str(number)
            ours, theirs = rows_of(one), rows_of(more)
            print(
                f"\n{loss}\n  step   loss: 1   {several} processes   lambda: 1   {several}        norm: 1     {several}"
            )
            for a, b in zip(ours, theirs, strict=True):
                cells = [f"{row[key]:.6f}" if key in row else "-" for key in COLUMNS for row in (a, b)]
                print(f"  {int(a['step']):>4}  " + "  ".join(f"{cell:>10}" for cell in cells))
            apart = weight_difference(one, more, root / "start" / "0")
            same = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (one, more)]
            print(
                f"  largest difference: numbers {largest_difference(ours, theirs):.1e}, weights {apart:.1e}; "
                f"test AP {same[0]['AP']:.4f} and {same[1]['AP']:.4f}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4]))
    else:
        main()
