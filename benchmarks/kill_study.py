"""Kill a study at random moments, over and over, and compare what it ends with with an undisturbed one, bit for bit.

    python benchmarks/kill_study.py --kills 200 --seed 0 --out /tmp/kills

The command under test is `smoothiou compare` in a process group of its own, which is killed whole by SIGKILL. It is
then given again, unchanged. Whenever all cells are done before the kills are, it is given one seed more, and grows as
users' studies do. At last it runs undisturbed, a second study of the same cells runs in another folder, and every
number of every cell is compared. Time and memory (`TIMES`) are all that may differ.

A cell that was seen done must stay as it is, to the byte: its result holds the second in which it was finished, so
a cell that ran twice is noticed even where its numbers are equal.

Exit code: 0 when nothing is lost, doubled, left over or different; else 1.
"""

from __future__ import annotations

import argparse
import collections
import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = {
    "result.json": (
        "cost.train_seconds", "cost.seconds_per_step", "cost.eval_seconds", "cost.peak_memory_mb", "finished",
    ),
    "metrics.csv": ("seconds",),
    "last.ckpt": ("seconds", "watching"),
    "comparison.json": ("identity",),  # of the cells' files, which hold times
}  # fmt: skip
"""What a run measures of its own time and memory: never equal twice."""

LOSSES = "huber,smooth-iou[lam=ema]"
CELL = (
    "--data.images", "12", "--data.size", "64", "--model.min_size", "64", "--model.max_size", "64",
    "--train.batch_size", "2", "--train.log_every", "1", "--train.eval_every", "4", "--train.save_seconds", "0.05",
    "--device", "cpu", "--train.precision", "fp32",
)  # fmt: skip
"""A cell of seconds, in which training, saving and both evaluations each take their share."""

SPAN = 4.0
"""Seconds from the lock of the study within which a kill comes."""


def main() -> None:
    """Read the options, run the campaign, print its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=12, help="of a cell")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of a cell")
    parser.add_argument("--out", type=Path, required=True, help="folder for both studies; must not exist")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    campaign, began = Campaign(options), time.monotonic()
    campaign.kill_all()
    result = campaign.compare()
    result["seconds"] = round(time.monotonic() - began)
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["lost"] or result["doubled"] or result["different"] or result["left_over"]))


class Campaign:
    """One study that is killed, and what was seen of it.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.random = options, random.Random(options.seed)
        self.study, self.whole = options.out / "killed", options.out / "whole"
        self.seeds, self.starts = 1, 0
        self.done: dict[str, str] = {}
        self.lost: set[str] = set()
        self.doubled: set[str] = set()
        self.moments: collections.Counter[str] = collections.Counter()

    def start(self, study: Path) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own."""
        self.starts += 1
        words = ["compare", "shapes", "--losses", LOSSES, "--seeds", f"0-{self.seeds - 1}", "--out", study.absolute()]
        words += [*CELL, "--steps", self.options.steps, "--train.workers", self.options.workers]
        words += ["--jobs", self.options.jobs]
        with (self.options.out / f"{study.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "smoothiou", *map(str, words)]
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def run(self, study: Path) -> None:
        """Run the command to its end, undisturbed."""
        if status := self.start(study).wait():
            sys.exit(f"the undisturbed command ended with {status}: see {study}.log")

    def kill_all(self) -> None:
        """Kill and start again until all kills are done, then let the study end."""
        while self.moments.total() < self.options.kills:
            process = self.start(self.study)
            try:
                if self.random.random() < 0.1:  # among the imports
                    process.wait(self.random.uniform(0, 1))
                else:
                    self.wait_for_lock(process)
                    process.wait(self.random.uniform(0, SPAN))
            except subprocess.TimeoutExpired:
                self.kill(process)
            if process.returncode == 0:
                self.seeds += 1
            elif process.returncode > 0:
                sys.exit(f"after {self.moments.total()} kills the command ended with {process.returncode}")
            self.inspect()
        self.run(self.study)
        self.inspect()

    def wait_for_lock(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the study's lock names the process: before that only imports could be hit."""
        lock = self.study / ".lock"
        while process.poll() is None:
            if lock.is_file() and lock.read_text().startswith(f"{process.pid} "):
                return
            time.sleep(0.02)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the command with all that it has started, and note at which moment."""
        cells = _descendants(process.pid)  # with --jobs: each has a group of its own
        os.killpg(process.pid, signal.SIGKILL)
        for cell in cells:
            os.kill(cell, signal.SIGKILL)
        process.wait()
        moment = self.moment()
        self.moments[moment] += 1
        self.seeds += moment == "between cells, or reporting"
        print(f"{self.moments.total():4d} {time.strftime('%H:%M:%S')} {moment}", file=sys.stderr, flush=True)

    def moment(self) -> str:
        """Return the moment of a kill, read from the files."""
        if parts := [path.name.split(".")[1] for path in self.study.rglob(".*.part")]:
            return f"writing {parts[0]}"
        cells = sorted((self.study / "cells").glob("*/"))
        if not cells:
            return "before the first cell"
        working = [cell for cell in cells if not (cell / "done").is_file()]
        if not working:
            return "between cells, or reporting"
        if (working[0] / "metrics.csv").is_file():
            steps = (working[0] / "metrics.csv").read_text().count("\n") - 1
            return "training" if steps < self.options.steps else "evaluating"
        return "a cell begins"

    def inspect(self) -> None:
        """Note cells that were done and are no longer, or have been done again."""
        now = {path.parent.name: _digest(path.parent) for path in (self.study / "cells").glob("*/done")}
        self.lost |= self.done.keys() - now.keys()
        self.doubled |= {cell for cell, digest in self.done.items() if now.get(cell, digest) != digest}
        self.done |= now

    def compare(self) -> dict[str, Any]:
        """Run the second study undisturbed, and return how the first differs."""
        self.run(self.whole)
        cells = sorted(path.name for path in (self.whole / "cells").glob("*/"))
        pairs = [[folder / "cells" / cell for folder in (self.study, self.whole)] for cell in cells]
        different = [line for pair in pairs for line in differences(*pair)]
        different += unequal(self.study / "comparison.json", self.whole / "comparison.json")
        names = [{str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (self.study, self.whole)]
        return {
            "kills": self.moments.total(),
            "starts": self.starts,
            "moments": dict(self.moments.most_common()),
            "cells": len(cells),
            "lost": sorted(self.lost),
            "doubled": sorted(self.doubled),
            "different": different,
            "left_over": sorted(names[0] - names[1]),
            "missing": sorted(names[1] - names[0]),
            "not_compared": TIMES,
        }


def _descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    try:
        direct = [int(number) for path in children.parents[1].glob("*/children") for number in path.read_text().split()]
    except OSError:
        return []
    return [number for child in direct for number in (*_descendants(child), child)]


def differences(one: Path, other: Path) -> Iterator[str]:
    """Give every file and number in which two cells' folders differ, but for times and memory."""
    for name in ("predictions.json", "localization.json", "config.toml"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            yield f"{one.name}/{name}"
    for name in ("result.json", "metrics.csv", "last.ckpt", "best.ckpt"):
        yield from (f"{one.name}/{line}" for line in unequal(one / name, other / name))


def unequal(one: Path, other: Path) -> list[str]:
    """Return the keys at which two files differ, but for times and memory."""
    first, second = (dict(_flat(_read(path))) for path in (one, other))
    keys = [key for key in sorted(first.keys() | second.keys()) if first.get(key, "none") != second.get(key, "none")]
    return [f"{one.name}: {key}" for key in keys if key.rsplit("#", 1)[0] not in TIMES.get(one.name, ())]


def _read(path: Path) -> Any:
    """Return the content of JSON, of a checkpoint, or of columns; a row's number stands after a #."""
    if path.suffix == ".ckpt":
        import torch

        return torch.load(path, weights_only=True)
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return {f"{key}#{number}": value for number, row in enumerate(rows) for key, value in row.items()}
    return json.loads(path.read_text())


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give every leaf with its dotted key; a tensor is its type, shape and bytes."""
    if isinstance(content, (dict, list, tuple)):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    elif hasattr(content, "numpy"):
        yield key, (str(content.dtype), tuple(content.shape), hashlib.sha256(content.numpy().tobytes()).hexdigest())
    else:
        yield key, repr(content)


def _digest(home: Path) -> str:
    names = ("result.json", "predictions.json", "localization.json", "metrics.csv", "last.ckpt", "best.ckpt", "done")
    return hashlib.sha256(b"".join(hashlib.sha256((home / name).read_bytes()).digest() for name in names)).hexdigest()


if __name__ == "__main__":
    main()
