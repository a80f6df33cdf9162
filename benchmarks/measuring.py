"""What every benchmark needs: the machine in words, interleaved rounds, ratios with their spread, one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a number depends on beside the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line.split(":")[1].split() for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        processor, flags = platform.processor(), []
    return {
        "processor": processor,
        "bf16": ", ".join(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags) or "not native",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "device": device if device == "cpu" else f"{device} ({torch.cuda.get_device_name()})",
        "versions": {name: version(name) for name in ("torch", "torchvision", "hotcoco", "numpy")},
    }


def said(about: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, bf16: {about['bf16']}, "
        f"device {about['device']}, load {about['load']} at the start; {versions}"
    )


class Stopwatch:
    """Takes wall and CPU time of a piece of work, a GPU's own work included."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, work: Callable[[], Any]) -> tuple[float, float]:
        """Return (seconds, CPU seconds of this process)."""
        self._settle()
        began, used = time.perf_counter(), time.process_time()
        work()
        self._settle()
        return time.perf_counter() - began, time.process_time() - used

    def _settle(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def interleaved(
    variants: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    device: str = "cpu",
    before: Callable[[str], Any] = str,
) -> dict[str, list[tuple[float, float]]]:
    """Return the times of every variant in every round; the order rotates, so that a noisy machine hits all alike.

    Args:
        variants: the pieces of work, by name.
        rounds: how often each is timed.
        device: where they work.
        before: called with the name ahead of every piece of work, while the clock stands still.
    """
    names, watch = list(variants), Stopwatch(device)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before(name)
            times[name].append(watch(variants[name]))
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(peer: Sequence[tuple[float, float]], own: Sequence[tuple[float, float]], *, cpu: bool = False) -> str:
    """Return how many times longer the peer takes: the median over rounds, with its quartiles."""
    low, middle, high = quartiles([a[cpu] / b[cpu] for a, b in zip(peer, own, strict=True)])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def median(times: Sequence[tuple[float, float]], *, cpu: bool = False) -> float:
    """Return the median of wall or of CPU seconds."""
    return statistics.median(one[cpu] for one in times)


class Report:
    """The tables of one benchmark, for people and as JSON.

    Args:
        question: what it answers.
        device: where it ran.
    """

    def __init__(self, question: str, device: str = "cpu") -> None:
        self.content: dict[str, Any] = {"question": question, "machine": machine(device), "tables": []}
        print(f"{question}\n{said(self.content['machine'])}", flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
        """Add a table and print it."""
        cells = [[str(cell) for cell in row] for row in rows]
        self.content["tables"].append({"title": title, "columns": list(columns), "rows": cells, "note": note})
        widths = [max(len(line[place]) for line in [list(columns), *cells]) for place in range(len(columns))]
        print(f"\n{title}")
        for line in [list(columns), *cells]:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        print(note, flush=True)

    def write(self, path: str | None) -> None:
        """Write everything as JSON, if a path was asked for."""
        if path:
            Path(path).write_text(json.dumps(self.content, indent=1), encoding="utf-8")


def arguments(description: str | None, **more: dict[str, Any]) -> argparse.Namespace:
    """Return the options: `--device`, `--json` and those given here, as keyword arguments of `add_argument`."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", metavar="FILE", help="write the tables there too")
    for name, options in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    return parser.parse_args()
