"""Kill a study at random moments, over and over, and compare what it ends with with an undisturbed one, bit for bit.

    python benchmarks/kill_study.py --kills 200 --seed 0 --out /tmp/kills          # about 3 s of start each
    python benchmarks/kill_study.py --kills 200 --seed 0 --out /tmp/kills --warm   # started by fork, torch imported

The command under test is `smoothiou compare` in a process group of its own, which is killed whole by SIGKILL. It is
then given again, unchanged. Whenever all cells are done before the kills are, it is given one seed more, and grows as
users' studies do. At last it runs undisturbed, a second study of the same cells runs in another folder, and every
number of every cell is compared. Time and memory (`TIMES`) are all that may differ.

A cell that was seen done must stay as it is, to the byte: its result carries the second in which it was finished, so
a cell that ran twice is found even where its numbers are equal.

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

SIZE = ("--data.images", "12", "--data.size", "64", "--model.min_size", "64", "--model.max_size", "64")
LENGTH = ("--train.batch_size", "2", "--train.log_every", "1", "--train.eval_every", "4")
CELL = (*SIZE, *LENGTH, "--train.save_seconds", "0.05", "--device", "cpu", "--train.precision", "fp32")
"""A cell of seconds, in which training, saving, watching the val split and measuring each take their share."""

REPORTING = "between cells, or reporting"
LOSSES = "huber,smooth-iou[lam=ema]"


def main() -> None:
    """Read the options, run the campaign, print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=12, help="of a cell")
    parser.add_argument("--workers", type=int, default=0, help="loader processes of a cell")
    parser.add_argument("--out", type=Path, required=True, help="folder for both studies; must not exist")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no more kills are done")
    parser.add_argument("--warm", action="store_true", help="start by fork from a process that has imported torch")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.warm:
        _import_all()
    campaign = Campaign(options)
    began = time.monotonic()
    campaign.kill_all()
    found = campaign.compare()
    found["seconds"] = round(time.monotonic() - began)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["lost"] or found["doubled"] or found["different"] or found["left_over"]))


def _import_all() -> None:
    """Import what a command will need, but start no thread: those would not survive a fork."""


class Campaign:
    """One study that is killed, and what was seen of it.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.study, self.whole = options.out / "killed", options.out / "whole"
        self.seeds = 1
        self.sealed: dict[str, str] = {}
        self.lost: set[str] = set()
        self.doubled: set[str] = set()
        self.moments: collections.Counter[str] = collections.Counter()
        self.starts = self.kills = 0

    def words(self, study: Path) -> list[str]:
        """Return the command under test."""
        seeds = f"0-{self.seeds - 1}" if self.seeds > 1 else "0"
        size = ["--steps", str(self.options.steps), "--train.workers", str(self.options.workers)]
        study_words = ["--losses", LOSSES, "--seeds", seeds, "--out", str(study.absolute())]
        return ["compare", self.options.data, *study_words, *CELL, *size]

    def start(self, study: Path, log: Path) -> int:
        """Start the command in a process group of its own, and return its process id."""
        self.starts += 1
        words = self.words(study)
        with log.open("ab") as out:
            if self.options.warm and self.starts % 10:  # every tenth is started as a user starts it
                return _fork(words, out.fileno())
            command = [sys.executable, "-m", "smoothiou", *words]
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
            _PROCESSES[process.pid] = process
            return process.pid

    def run(self, study: Path) -> None:
        """Run the command to its end, undisturbed."""
        status = _wait(self.start(study, self.options.out / f"{study.name}.log"), None)
        if status != 0:
            sys.exit(f"the undisturbed command ended with {status}: see {study}.log")

    def kill_all(self) -> None:
        """Kill and start again until all kills are done, then let the study end."""
        span, until = 4.0, time.monotonic() + 60 * self.options.minutes
        while self.kills < self.options.kills and time.monotonic() < until:
            log = self.options.out / "killed.log"
            process, began = self.start(self.study, log), time.monotonic()
            at_once = self.random.random() < 0.1
            if not at_once:
                self.wait_for_work(process)
                began = time.monotonic()
            status = _wait(process, began + self.random.uniform(0, 1.0 if at_once else span))
            if status is None:
                _kill(process)
                self.kills += 1
                moment = self.moment()
                self.moments[moment] += 1
                self.seeds += moment == REPORTING
                print(f"{self.kills:4d} {time.strftime('%H:%M:%S')} {moment}", file=sys.stderr, flush=True)
            elif status == 0:
                self.seeds += 1
            else:
                sys.exit(f"after {self.kills} kills the command ended with {status}: see {log}")
            self.inspect()
        self.run(self.study)
        self.inspect()

    def wait_for_work(self, process: int) -> None:
        """Wait until the study is claimed: before that only imports could be hit."""
        while not claimed_by(self.study, process) and _ended(process) is None:
            time.sleep(0.02)

    def moment(self) -> str:
        """Return what the files say about the moment of a kill."""
        parts = [path.name.split(".")[1] for path in self.study.rglob(".*.part")]
        if parts:
            return f"writing {parts[0]}"
        homes = sorted((self.study / "cells").glob("*/"))
        working = [home for home in homes if not (home / "done").is_file()]
        if not homes:
            return "before the first cell"
        if not working:
            return REPORTING
        if (working[0] / "metrics.csv").is_file():
            steps = (working[0] / "metrics.csv").read_text().count("\n") - 1
            return "training" if steps < self.options.steps else "measuring"
        return "a cell begins"

    def inspect(self) -> None:
        """Note cells that were done and are no longer, or have been done again."""
        now = {home.parent.name: _digest(home.parent) for home in (self.study / "cells").glob("*/done")}
        for cell, digest in self.sealed.items():
            if cell not in now:
                self.lost.add(cell)
            elif now[cell] != digest:
                self.doubled.add(cell)
        self.sealed |= now

    def compare(self) -> dict[str, Any]:
        """Run the second study undisturbed, and return how the first differs."""
        self.run(self.whole)
        cells = sorted(home.name for home in (self.whole / "cells").glob("*/"))
        different = [
            line for cell in cells for line in differences(self.study / "cells" / cell, self.whole / "cells" / cell)
        ]
        first, second = (dict(_flat(_read_json(folder / "comparison.json"))) for folder in (self.study, self.whole))
        different += [f"comparison.json: {key}" for key in sorted(unequal(first, second, "comparison.json"))]
        names = [{str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (self.study, self.whole)]
        return {
            "kills": self.kills,
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


def claimed_by(study: Path, process: int) -> bool:
    """Return whether the lock file of a study names this process; that of a killed one is still there."""
    try:
        return (study / ".lock").read_text().split()[:1] == [str(process)]
    except OSError:
        return False


def differences(one: Path, other: Path) -> Iterator[str]:
    """Give every file and number in which two cells' folders differ, but for times and memory."""
    for name in ("predictions.json", "localization.json", "config.toml"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            yield f"{one.name}/{name}"
    read = {
        "result.json": _read_json,
        "metrics.csv": _read_csv,
        "last.ckpt": _read_checkpoint,
        "best.ckpt": _read_checkpoint,
    }
    for name, reader in read.items():
        first, second = (dict(_flat(reader(folder / name))) for folder in (one, other))
        yield from (f"{one.name}/{name}: {key}" for key in sorted(unequal(first, second, name)))


def unequal(first: dict[str, Any], second: dict[str, Any], name: str) -> set[str]:
    """Return the keys at which the contents of two files of this name differ, but for times and memory."""
    keys = {key for key in first.keys() | second.keys() if first.get(key, "none") != second.get(key, "none")}
    return {key for key in keys if key.rsplit("#", 1)[0] not in TIMES.get(name, ())}


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _read_csv(path: Path) -> Any:
    """Return columns; a row's number stands after a #."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {f"{key}#{number}": value for number, row in enumerate(rows) for key, value in row.items()}


def _read_checkpoint(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True)


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give every leaf with its dotted key; a tensor is its type, shape and bytes."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, (list, tuple)):
        for number, value in enumerate(content):
            yield from _flat(value, f"{key}.{number}")
    elif hasattr(content, "numpy"):
        yield key, (str(content.dtype), tuple(content.shape), hashlib.sha256(content.numpy().tobytes()).hexdigest())
    else:
        yield key, repr(content)


def _digest(home: Path) -> str:
    names = ("result.json", "predictions.json", "localization.json", "metrics.csv", "last.ckpt", "best.ckpt", "done")
    return hashlib.sha256(b"".join(hashlib.sha256((home / name).read_bytes()).digest() for name in names)).hexdigest()


_PROCESSES: dict[int, subprocess.Popen[bytes]] = {}


def _fork(words: list[str], out: int) -> int:
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["smoothiou", *words]
        from smoothiou.cli import main as command

        command(words)
        sys.stdout.flush()
        os._exit(0)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        os._exit(99)


def _ended(process: int) -> int | None:
    """Return the exit code of a process that has ended, else None."""
    if process in _PROCESSES:
        return _PROCESSES[process].poll()
    pid, status = os.waitpid(process, os.WNOHANG)
    if pid:
        _STATUS[process] = os.waitstatus_to_exitcode(status)
    return _STATUS.get(process)


_STATUS: dict[int, int] = {}


def _wait(process: int, until: float | None) -> int | None:
    """Return the exit code, or None where the time came first."""
    while until is None or time.monotonic() < until:
        if process in _STATUS:
            return _STATUS[process]
        status = _ended(process)
        if status is not None:
            return status
        time.sleep(0.02)
    return _STATUS.get(process)


def _kill(process: int) -> None:
    os.killpg(process, signal.SIGKILL)
    if process in _PROCESSES:
        _PROCESSES[process].wait()
    else:
        os.waitpid(process, 0)


if __name__ == "__main__":
    main()
