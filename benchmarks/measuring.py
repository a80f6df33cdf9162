"""What every benchmark needs: the machine, interleaved rounds, ratios with their spread, one table."""

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

Times = Sequence[tuple[float, float]]
"""(wall seconds, CPU seconds) of each round."""


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a number depends on beside the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = [line.split(":") for line in (cpuinfo.read_text() if cpuinfo.is_file() else "").splitlines() if ":" in line]
    facts = {name.strip(): value.strip() for name, value in lines}
    bf16 = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()]
    return {
        "processor": facts.get("model name", platform.processor()),
        "bf16": ", ".join(bf16) or "not native",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "device": device if device == "cpu" else f"{device} ({torch.cuda.get_device_name()})",
        **{name: version(name) for name in ("torch", "torchvision", "hotcoco", "numpy")},
    }


def interleaved(
    variants: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    device: str = "cpu",
    before: Callable[[str], Any] = str,
) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU seconds of every variant in every round; the order rotates, so that noise hits all alike.

    Args:
        variants: the pieces of work, by name.
        rounds: how often each is timed.
        device: where they work; a GPU's own work is waited for.
        before: called with the name ahead of every piece of work, while the clock stands still.
    """
    names = list(variants)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before(name)
            wait()
            began, used = time.perf_counter(), time.process_time()
            variants[name]()
            wait()
            times[name].append((time.perf_counter() - began, time.process_time() - used))
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    low, middle, high = statistics.quantiles([*values] * (1 + (len(values) == 1)), n=4, method="inclusive")
    return low, middle, high


def ratio(peer: Times, ours: Times, *, cpu: bool = False) -> str:
    """Return how many times longer the peer takes: the median over rounds, with its quartiles."""
    low, middle, high = quartiles([a[cpu] / b[cpu] for a, b in zip(peer, ours, strict=True)])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def median(times: Times, *, cpu: bool = False) -> float:
    """Return the median of wall or of CPU seconds."""
    return statistics.median(one[cpu] for one in times)


class Report:
    """The tables of one benchmark, printed and as JSON.

    Args:
        question: what it answers.
        device: where it ran.
    """

    def __init__(self, question: str, device: str = "cpu") -> None:
        self.content: dict[str, Any] = {"question": question, "machine": machine(device), "tables": []}
        print(question, ", ".join(f"{name} {value}" for name, value in self.content["machine"].items()), sep="\n")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
        """Add a table and print it."""
        cells = [[str(cell) for cell in row] for row in rows]
        self.content["tables"].append({"title": title, "columns": list(columns), "rows": cells, "note": note})
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        print(f"\n{title}")
        for line in [columns, *cells]:
            print("  ".join(map(str.ljust, line, widths)).rstrip())
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
