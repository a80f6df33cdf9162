"""Cells of a study in an hour on a Ray cluster of one node and of two, one CPU each, on this machine.

    python benchmarks/ray_scaling.py --cells 4 --rounds 2

The nodes are real Ray nodes (raylets) that share this machine's cores, so two can be twice as fast as one only where
two cores are free. Each round runs the same new study on one node and on two, in turn, with OMP_NUM_THREADS=1 in each
cell; the fastest round counts. The time is that of the whole command: start, look at the cluster, cells, report. The
time from the first cell's start to the last one's end is given beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CELL = (
    "--data.images", "48", "--data.size", "96", "--model.min_size", "96", "--model.max_size", "96",
    "--train.batch_size", "4", "--train.log_every", "50", "--device", "cpu", "--train.precision", "fp32",
)  # fmt: skip


def main() -> None:
    """Read the options, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    seconds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    home = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    try:
        for round_ in range(options.rounds):
            for nodes in (1, 2) if round_ % 2 == 0 else (2, 1):
                seconds[nodes].append(measure(nodes, options, home))
                print(f"round {round_ + 1}, {nodes} nodes: {seconds[nodes][-1]}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.cells} cells of {options.steps} steps, {os.cpu_count()} cores, load at the end {load}")
    print("nodes  command s  cells/hour  without start and report s  cells/hour")
    for nodes, found in seconds.items():
        whole, inner = (min(values) for values in zip(*found, strict=True))
        per_hour = [3600 * options.cells / value for value in (whole, inner)]
        print(f"{nodes:5d}  {whole:9.1f}  {per_hour[0]:10.0f}  {inner:26.1f}  {per_hour[1]:10.0f}")


def measure(nodes: int, options: argparse.Namespace, home: Path) -> tuple[float, float]:
    """Return the seconds of a study on so many nodes: of the command, and from its first cell to its last."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_TMPDIR"] = str(home)
    cluster = Cluster()
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)
    study = home / f"study-{nodes}-{time.time_ns()}"
    words = ["compare", "shapes", "--losses", "huber", "--seeds", f"0-{options.cells - 1}", "--out", str(study)]
    words += [*CELL, "--steps", str(options.steps), "--launcher", "ray", "--address", cluster.address]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        began = time.monotonic()
        command = subprocess.run(
            [sys.executable, "-m", "smoothiou", *words], env=environment, capture_output=True, text=True
        )
        whole = time.monotonic() - began
    finally:
        for node in cluster.list_all_nodes():
            cluster.remove_node(node, allow_graceful=False)
    if command.returncode:
        sys.exit(f"the study ended with {command.returncode}:\n{command.stderr}")
    if not re.search(rf"\b{nodes} machines?, {nodes} cells? at once", command.stderr):
        sys.exit(f"expected {nodes} nodes with room for a cell each:\n{command.stderr}")
    cells = [path for path in (study / "cells").iterdir() if path.name[0] != "."]
    assert len(cells) == options.cells
    assert all(json.loads((cell / "result.json").read_text())["hash"] for cell in cells)
    began = min((cell / "config.toml").stat().st_mtime for cell in cells)  # written when a training starts
    return whole, max((cell / "done").stat().st_mtime for cell in cells) - began


if __name__ == "__main__":
    main()
