"""How long a training takes to reach an AP, and how far it gets: ours against torchvision's reference loop, by seed.

    python benchmarks/time_to_ap.py --data FOLDER [--steps 400] [--target 0.45] [--seeds 0] [--json FILE]

The recipe `bccd`, shortened to `--steps`, with torchvision's own box loss (smooth L1, beta 1/9) on both sides: the same
net, batch, optimizer and schedule, and the same weights at the start. What differs: the order of images and the draws
of the sampler, bf16 in ours where the hardware has it, and that ours clips the gradient to a norm of 10 (`clip_norm`).
AP is COCO's on the test split, from the same code for both, after every eighth of the steps, while the clock stands
still. One seed says nothing about which AP is higher; for that: `--steps 800 --seeds 0,1,2`.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measuring import Report, arguments
from reference import adamw, photo_batches, reference_step, stock_nano
from training_step import Training, our_training

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset
from smoothiou.detectors import set_box_loss, torchvision_smooth_l1
from smoothiou.engine.config import RunConfig, build_config
from smoothiou.engine.detector import build
from smoothiou.engine.devices import Placement, choose_placement
from smoothiou.engine.inference import coco_rows, run_detector
from smoothiou.engine.loading import draw_batches, training_images
from smoothiou.engine.open_data import open_splits
from smoothiou.engine.optim import learning_rate
from smoothiou.engine.seeding import seed_weights
from smoothiou.metrics import evaluate_detections

Trace = list[tuple[int, float, float]]
Weights = dict[str, torch.Tensor]


def ap(model: Any, data: Dataset, device: Any, precision: str) -> float:
    """Return COCO's AP of a detector on a split."""
    images = DetectionDataset(data, cache_mb=0)
    model.eval()
    outputs = run_detector(
        model, [images[k][0] for k in range(len(images))], batch_size=8, placement=Placement(device, precision, "")
    )
    rows = [
        row
        for number, output in enumerate(outputs, 1)
        for row in coco_rows(output.boxes, output.scores, output.labels, image_id=number)
    ]
    model.train()
    return evaluate_detections(to_coco(data), rows)["AP"]


def trace(run: Training, measure: Callable[[], float], *, steps: int) -> Trace:
    """Return (steps, seconds, AP) after every eighth of the steps."""
    seconds, done, points = 0.0, 0, []
    for until in (part * steps // 8 for part in range(1, 9)):
        began = time.perf_counter()
        run(until - done)
        seconds, done = seconds + time.perf_counter() - began, until
        points.append((done, seconds, measure()))
    return points


def first_weights(config: RunConfig, classes: int, seed: int) -> Weights:
    """Return the weights that both sides start from."""
    seed_weights(seed)
    return build(config, classes=classes).state_dict()


def ours(config: RunConfig, data: Any, seed: int, start: Weights) -> Trace:
    """Train as `smoothiou train` does."""
    steps, made = config.train.steps, {}

    def batches(model: Any, place: Any) -> Any:
        model.load_state_dict(start)
        set_box_loss(model, torchvision_smooth_l1)
        made["model"] = model
        return draw_batches(training_images(model, data.train, config, place), config, place, start=0, steps=steps)

    run, place = our_training(config, len(data.train.classes), batches, steps=steps, seed=seed)
    measure = functools.partial(ap, made["model"], data.test, place.device, place.precision)
    return trace(run, measure, steps=steps)


def theirs(config: RunConfig, data: Any, seed: int, start: Weights, *, workers: int) -> Trace:
    """Train as torchvision's references do."""
    steps, rate = config.train.steps, config.optim.lr
    place = choose_placement(config.train.device, "fp32")
    classes, sizes = len(data.train.classes), {"min_size": config.model.min_size, "max_size": config.model.max_size}
    model = stock_nano(
        classes, **sizes, box_score_thresh=config.eval.score_threshold, rpn_post_nms_top_n_test=config.model.proposals
    )
    model.load_state_dict(start)  # of the same names and shapes, or it raises
    model.to(place.device).train()
    optimizer, schedule = adamw(
        model, rate, config.optim.weight_decay, lambda step: learning_rate(config.optim, step=step, steps=steps) / rate
    )
    coming = photo_batches(data.train, batch_size=config.train.batch_size, workers=workers, seed=seed)

    def run(count: int) -> None:
        for batch in itertools.islice(coming, count):
            reference_step(model, optimizer, schedule, batch, place.device)

    return trace(run, lambda: ap(model, data.test, place.device, "fp32"), steps=steps)


def reached(points: Trace, target: float) -> float | None:
    """Return the seconds up to the first measurement at or above an AP, if there is one."""
    return next((seconds for _, seconds, value in points if value >= target), None)


def compare(pairs: list[tuple[Trace, Trace]], target: float) -> str:
    """Return the ratio of times and the differences of AP, the reference and ours paired by seed."""
    times = [(reached(a, target), reached(b, target)) for a, b in pairs]
    ratios = ", ".join("-" if a is None or b is None else f"{a / b:.2f}" for a, b in times)
    differences = [100 * (b[-1][2] - a[-1][2]) for a, b in pairs]
    note = f"By seed: reference / ours, time to AP {target}: {ratios}; AP of ours less the reference's at the end: "
    note += ", ".join(f"{value:+.1f}" for value in differences)
    if len(differences) == 1:
        return note
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{note}, mean {statistics.mean(differences):+.1f}, standard error {error:.1f}."


def main() -> None:
    """Train and print the tables."""
    options = arguments(
        __doc__,
        data={"required": True, "help": "BCCD, or another data set of photos"},
        steps={"type": int, "default": 400},
        target={"type": float, "default": 0.45},
        seeds={"default": "0"},
        workers={"type": int, "default": 2, "help": "loader processes of the reference"},
    )
    report = Report(f"Time to AP {options.target}", options.device)
    settings = {"data.path": options.data, "train.steps": options.steps, "train.device": options.device}
    data = open_splits(build_config("bccd", settings).data)
    rows: list[list[Any]] = []
    last: dict[tuple[str, int], Trace] = {}
    seeds = [int(word) for word in options.seeds.split(",")]
    sides = {"theirs": functools.partial(theirs, workers=options.workers), "ours": ours}
    for number, seed in enumerate(seeds):
        config = build_config("bccd", {**settings, "train.seed": seed})
        start = first_weights(config, len(data.train.classes), seed)
        for name in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            points = last[name, seed] = sides[name](config, data, seed, start)
            curve = ", ".join(f"{steps}: {100 * value:.1f}" for steps, _, value in points)
            needed = reached(points, options.target)
            row = [name, seed, f"{points[-1][1]:.0f}", "not reached" if needed is None else f"{needed:.0f}"]
            rows.append([*row, f"{100 * points[-1][2]:.1f}", curve])
            print(*rows[-1], flush=True)
    note = compare([(last["theirs", seed], last["ours", seed]) for seed in seeds], options.target)
    columns = ["loop", "seed", "s in all", f"s to AP {options.target}", "AP at the end, %", "steps: AP"]
    report.table(f"{data.test.name}, {options.steps} steps", columns, rows, note)
    report.write(options.json)


if __name__ == "__main__":
    main()
