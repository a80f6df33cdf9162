"""The largest memory of a training: resident on a CPU, allocated on a GPU; ours against the reference loop.

    python benchmarks/memory.py [--device cpu] [--json FILE]

Ten steps of `nano` at 320 x 240 pixels, batch 4, and two of resnet50-fpn at 640 pixels, batch 2; each in a process of
its own, on the same synthetic images, which lie in memory. Stated is what the steps add to what the process had before.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring import Report, arguments

CASES = {"nano": (10, 4, 240, 320), "resnet50-fpn": (2, 2, 640, 640)}


def batch(count: int, height: int, width: int) -> Any:
    """Return images of noise with ten boxes each."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images, targets = [], []
    for _ in range(count):
        images.append(torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8))
        size = 20 + 0.3 * height * torch.rand(10, 2, generator=generator)
        corner = torch.rand(10, 2, generator=generator) * (torch.tensor([width, height]) - size)
        labels = torch.randint(1, 4, (10,), generator=generator)
        targets.append({"boxes": torch.cat([corner, corner + size], 1), "labels": labels})
    return images, targets


def peak(name: str, which: str, device: str) -> float:
    """Train some steps and return the MiB that they needed."""
    import torch
    from reference import stock_nano, stock_resnet50
    from training_step import our_block, reference_block

    from smoothiou.config import RunConfig
    from smoothiou.experiment.devices import forget_peak_memory, peak_memory_mb

    steps, count, short, long = CASES[name]
    images, targets = batch(count, short, long)
    config = RunConfig().replace(
        {"model.name": name, "model.min_size": short, "model.max_size": long, "train.batch_size": count,
         "train.device": device}
    )  # fmt: skip
    place = torch.device(device)
    forget_peak_memory(place)
    before = peak_memory_mb(place) or 0.0
    if which == "ours":
        run, _ = our_block(config, 3, lambda model, place: itertools.repeat((images, targets)), 1)
    else:
        floats = [image.float() / 255 for image in images]
        sizes = {"min_size": short, "max_size": long}
        model = stock_nano(3, **sizes) if name == "nano" else stock_resnet50(3, side=short)
        run = reference_block(model, config, itertools.repeat((floats, targets)), place, 1)
    for _ in range(steps):
        run()
    return (peak_memory_mb(place) or 0.0) - before


def main() -> None:
    """Measure each case in a process of its own and print one table."""
    options = arguments(__doc__, case={"default": "", "help": "NAME:ours or NAME:theirs, for that process"})
    if options.case:
        name, which = options.case.split(":")
        print(peak(name, which, options.device))
        return
    report = Report("Memory of a training", options.device)
    rows = []
    for name in CASES:
        found = []
        for which in ("theirs", "ours"):
            command = [sys.executable, str(Path(__file__)), "--case", f"{name}:{which}", "--device", options.device]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(float(done.stdout.split()[-1]))
        rows.append([name, *(f"{value:.0f}" for value in found), f"{found[0] / found[1]:.2f}"])
    report.table("Peak beyond the process before, MiB", ["net", "reference, fp32", "smoothiou", "ratio"], rows)
    report.write(options.json)


if __name__ == "__main__":
    main()
