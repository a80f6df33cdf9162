"""The largest memory of a training, resident on a CPU and allocated on a GPU, against the reference loop.

    python benchmarks/memory.py [--data FOLDER] [--device cpu] [--json FILE]

Ten steps of `nano` by the recipe `bccd` on a data set (or on synthetic shapes), and two of resnet50-fpn on shapes of
640 pixels; each in a process of its own. Stated is what the training adds, at its largest, to what the process had once
the data set was read: ours with every image in the cache, and with `train.cache_mb 0`; the reference keeps none.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring import Report, arguments

STEPS = {"nano": 10, "resnet50-fpn": 2}
VARIANTS = ("reference", "cached", "not cached")


def settings(name: str, data: str, device: str) -> Any:
    """Return the settings of a net's training."""
    from smoothiou.engine.config import RunConfig, build_config

    if name == "nano" and data != "shapes":
        return build_config("bccd", {"data.path": data, "train.device": device})
    side, images, batch_size = (256, 100, 4) if name == "nano" else (640, 16, 2)
    return RunConfig().replace(
        {
            "model.name": name, "model.min_size": side, "model.max_size": side, "data.path": "shapes",
            "data.size": side, "data.images": images, "train.batch_size": batch_size, "train.device": device,
            "optim.lr": 1e-4,
        }
    )  # fmt: skip


def peak(name: str, variant: str, data: str, device: str) -> float:
    """Train some steps and return the MiB that they needed."""
    import torch
    from reference import photo_batches, stock_nano, stock_resnet50
    from training_step import batches_of_later_epochs, our_training, reference_training

    from smoothiou.engine.devices import peak_memory_mb, reset_peak_memory
    from smoothiou.engine.open_data import open_splits

    config, place = settings(name, data, device), torch.device(device)
    images = open_splits(config.data).train
    classes, sizes = len(images.classes), {"min_size": config.model.min_size, "max_size": config.model.max_size}
    reset_peak_memory(place)
    before = peak_memory_mb(place) or 0.0
    if variant == "reference":
        model = stock_nano(classes, **sizes) if name == "nano" else stock_resnet50(classes, side=sizes["max_size"])
        coming = photo_batches(images, batch_size=config.train.batch_size, workers=0, seed=0)
        run = reference_training(model, config, coming, place)
    else:
        own = config if variant == "cached" else config.replace({"train.cache_mb": 0})
        run, _ = our_training(own, classes, batches_of_later_epochs(images, own))
    run(STEPS[name])
    return (peak_memory_mb(place) or 0.0) - before


def main() -> None:
    """Measure each case in a process of its own and print one table."""
    options = arguments(
        __doc__,
        data={"default": "shapes", "help": "a data set for nano"},
        case={"default": "", "help": "NET:VARIANT, for that process"},
    )
    if options.case:
        name, variant = options.case.split(":")
        print(peak(name, variant, options.data, options.device))
        return
    report = Report("Memory of a training", options.device)
    from smoothiou.engine.devices import choose_placement
    from smoothiou.engine.open_data import open_splits

    precision = choose_placement(options.device, "auto").precision
    rows, room = [], 0
    for name in STEPS:
        config, found = settings(name, options.data, options.device), []
        data, room = open_splits(config.data).train, config.train.cache_mb
        for variant in VARIANTS:
            case = ["--case", f"{name}:{variant}", "--data", options.data, "--device", options.device]
            done = subprocess.run(
                [sys.executable, str(Path(__file__)), *case], capture_output=True, text=True, check=True
            )
            found.append(float(done.stdout.split()[-1]))
        what = f"{name}, batch {config.train.batch_size} of {len(data.records)} images of {data.name}"
        ratios = " and ".join(f"{found[0] / own:.2f}" for own in found[1:])
        rows.append([what, *(f"{value:.0f}" for value in found), ratios])
    ours = f"smoothiou, {precision}"
    report.table(
        "Peak beyond the process before, MiB",
        ["net", "reference, fp32", f"{ours}, cached", f"{ours}, train.cache_mb 0", "reference / cached, not cached"],
        rows,
        f"A run keeps images by default, up to {room} MiB; the reference keeps none.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
