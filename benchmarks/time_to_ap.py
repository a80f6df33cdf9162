"""How long a training takes to reach an AP, and how far it gets: ours against torchvision's reference loop, by seed.

    python benchmarks/time_to_ap.py --data FOLDER [--steps 400] [--target 0.45] [--seeds 0] [--only ours] [--json FILE]

The recipe `bccd`, shortened to `--steps`, with torchvision's own box loss (smooth L1, beta 1/9) on both sides: the same
net, batch, optimizer, schedule and seed for the weights; the order of images and the draws of the sampler differ. AP is
COCO's on the test split, from the same code for both, after every eighth of the steps. The clock stands still while AP
is measured. For equality of AP: `--steps 800 --seeds 0,1,2`; the table then holds every seed and the differences.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import Report, arguments
from reference import adamw, photo_batches, reference_step, stock_nano
from training_step import our_block

from smoothiou.config import RunConfig, build_config
from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset
from smoothiou.detectors import detect, set_box_loss, torchvision_smooth_l1
from smoothiou.evaluate import evaluate_detections
from smoothiou.evaluate.detect import coco_results, run_detector
from smoothiou.experiment.devices import choose_place
from smoothiou.experiment.loading import draw_batches, training_images
from smoothiou.experiment.splits import open_splits
from smoothiou.train.optim import learning_rate

Trace = list[tuple[int, float, float]]


def ap(model: Any, data: Dataset, device: Any, precision: str) -> float:
    """Return COCO's AP of a detector on a split."""
    images = DetectionDataset(data, cache_mb=0)
    model.eval()
    found = run_detector(
        functools.partial(detect, model), [images[k][0] for k in range(len(images))],
        probes=[(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))] * len(images), batch_size=8, device=device,
        precision=precision,
    )  # fmt: skip
    rows = [row for number, output in enumerate(found, 1) for row in coco_results(output, image_id=number)]
    model.train()
    return evaluate_detections(to_coco(data), rows)["AP"]


def trace(run: Callable[[], None], measure: Callable[[], float], *, steps: int) -> Trace:
    """Return (steps, seconds, AP) after every eighth of the steps; `run` takes so many at a time."""
    seconds, points = 0.0, []
    for part in range(1, 9):
        began = time.perf_counter()
        run()
        seconds += time.perf_counter() - began
        points.append((part * steps // 8, seconds, measure()))
    return points


def ours(config: RunConfig, data: Any, seed: int) -> Trace:
    """Train as `smoothiou train` does."""
    steps, made = config.train.steps, {}

    def batches(model: Any, place: Any) -> Any:
        set_box_loss(model, torchvision_smooth_l1)
        made["model"] = model
        return draw_batches(training_images(model, data.train, config, place), config, place, start=0, steps=steps)

    run, place = our_block(config, len(data.train.classes), batches, steps // 8, steps=steps, seed=seed)
    measure = functools.partial(ap, made["model"], data.test, place.device, place.precision)
    return trace(run, measure, steps=steps)


def theirs(config: RunConfig, data: Any, seed: int, workers: int) -> Trace:
    """Train as torchvision's references do."""
    steps, rate = config.train.steps, config.optim.lr
    place = choose_place(config.train.device, "fp32")
    torch.manual_seed(seed)
    classes, sizes = len(data.train.classes), {"min_size": config.model.min_size, "max_size": config.model.max_size}
    model = stock_nano(
        classes, **sizes, box_score_thresh=config.eval.score_threshold, rpn_post_nms_top_n_test=config.model.proposals
    )
    model.to(place.device).train()
    optimizer, schedule = adamw(
        model, rate, config.optim.weight_decay, lambda step: learning_rate(config.optim, step=step, steps=steps) / rate
    )
    coming = photo_batches(data.train, batch_size=config.train.batch_size, workers=workers, seed=seed)

    def run() -> None:
        for batch in itertools.islice(coming, steps // 8):
            reference_step(model, optimizer, schedule, batch, place.device)

    return trace(run, lambda: ap(model, data.test, place.device, "fp32"), steps=steps)


def reached(points: Trace, target: float) -> float:
    """Return the seconds up to the first measurement at or above an AP; infinite where there is none."""
    return next((seconds for _, seconds, value in points if value >= target), float("inf"))


def main() -> None:
    """Train and print the tables."""
    options = arguments(
        __doc__,
        data={"required": True, "help": "BCCD, or another data set of photos"},
        steps={"type": int, "default": 400},
        target={"type": float, "default": 0.45},
        seeds={"default": "0"},
        workers={"type": int, "default": 2, "help": "loader processes of the reference"},
        only={"default": "", "choices": ["", "ours", "theirs"]},
    )
    report = Report(f"Time to AP {options.target}", options.device)
    settings = {"data.path": options.data, "train.steps": options.steps, "train.device": options.device}
    data = open_splits(build_config("bccd", settings).data)
    rows: list[list[Any]] = []
    last: dict[tuple[str, int], Trace] = {}
    for seed in (int(word) for word in options.seeds.split(",")):
        config = build_config("bccd", {**settings, "train.seed": seed})
        for name in ("theirs", "ours"):
            if options.only in ("", name):
                points = ours(config, data, seed) if name == "ours" else theirs(config, data, seed, options.workers)
                last[name, seed] = points
                curve = ", ".join(f"{steps}: {100 * value:.1f}" for steps, _, value in points)
                row = [name, seed, f"{points[-1][1]:.0f}", f"{reached(points, options.target):.0f}"]
                rows.append([*row, f"{100 * points[-1][2]:.1f}", curve])
                print(*rows[-1], flush=True)
    note = ""
    seeds = [] if options.only else [seed for side, seed in last if side == "ours"]
    pairs = [(last["theirs", seed], last["ours", seed]) for seed in seeds]
    if pairs:
        times = statistics.median(reached(a, options.target) / reached(b, options.target) for a, b in pairs)
        differences = [100 * (b[-1][2] - a[-1][2]) for a, b in pairs]
        note = (
            f"Reference / ours, time to AP {options.target}: {times:.2f}. AP of ours less the reference's at the end: "
        )
        note += ", ".join(f"{value:+.1f}" for value in differences)
        if len(differences) > 1:
            spread = statistics.stdev(differences) / len(differences) ** 0.5
            note += f"; mean {statistics.mean(differences):+.1f}, standard error {spread:.1f}"
    columns = ["loop", "seed", "s in all", f"s to AP {options.target}", "AP at the end, %", "steps: AP"]
    report.table(f"{data.test.name}, {options.steps} steps", columns, rows, note)
    report.write(options.json)


if __name__ == "__main__":
    main()
