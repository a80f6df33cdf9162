"""A training step, data included, against torchvision's reference loop with the same net: paired, in one run.

    python benchmarks/training_step.py [--net nano] [--data FOLDER] [--device cpu] [--rounds 8] [--threads N]
        [--json FILE]

nano: the recipe `bccd` on a data set (or on synthetic shapes), whole loops: images, step, optimizer. resnet50-fpn: two
synthetic images of 640 x 640 pixels in memory, the step alone. The reference is stock torchvision in fp32
(`reference.py`); ours runs as `smoothiou train` does by default (bf16 where the hardware has it), and in fp32.

The reference's loader processes fetch up to four batches ahead. Read beforehand, these would be a present to the
reference; read while ours is timed, a burden on ours. So each block begins with a few steps that are not timed.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from measuring import Report, arguments, interleaved, median, ratio
from reference import adamw, photo_batches, reference_step, stock_nano, stock_resnet50

from smoothiou.data.records import Dataset
from smoothiou.engine.config import RunConfig, build_config
from smoothiou.engine.detector import build
from smoothiou.engine.devices import Placement, placement_of
from smoothiou.engine.loading import draw_batches, training_images
from smoothiou.engine.loop import Batch, train
from smoothiou.engine.open_data import open_splits
from smoothiou.engine.optim import build_optimizer, learning_rate
from smoothiou.engine.seeding import seed_weights

STEPS = 10**6
REFERENCE, OURS, FP32 = "torchvision reference, fp32", "smoothiou", "smoothiou, fp32"
UNTIMED, TIMED = {"nano": 4, "resnet50-fpn": 1}, {"nano": 16, "resnet50-fpn": 1}
"""Steps of a block before the clock starts, and after."""

Training = Callable[[int], None]
"""Goes on training for so many steps."""
Batches = Callable[[Any, Any], Iterator[Batch]]
"""Returns the batches, given the detector and the device."""


def our_training(
    config: RunConfig,
    classes: int,
    batches: Callable[[Any, Any], Iterator[Batch]],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[Training, Placement]:
    """Return a training through the loop of `smoothiou train`, and where it computes.

    Args:
        config: settings of the run.
        classes: without the background.
        batches: what it trains on.
        steps: length of the whole run, for the learning rate.
        seed: for the weights and what is random in a step.
    """
    place = placement_of(config)
    seed_weights(seed)
    model = build(config, classes=classes).to(place.device)
    optimizer, coming, done = build_optimizer(model, config.optim), batches(model, place), 0

    def run(count: int) -> None:
        nonlocal done
        settings = config.replace({
            "train.steps": steps, "train.seed": seed, "train.log_every": 10, "train.eval_every": 0,
            "train.save_seconds": 1e9,
        })  # fmt: skip
        train(
            model, optimizer, itertools.islice(coming, count), settings, place, start=done, epoch_images=10**9,
            log=lambda row: None, save=lambda step: None,
        )  # fmt: skip
        done += count

    return run, place


def reference_training(model: Any, config: RunConfig, batches: Iterator[Any], device: Any) -> Training:
    """Return a training of the peer."""
    model.to(device).train()
    rate = config.optim.lr
    optimizer, schedule = adamw(
        model, rate, config.optim.weight_decay, lambda step: learning_rate(config.optim, step=step, steps=STEPS) / rate
    )

    def run(count: int) -> None:
        for batch in itertools.islice(batches, count):
            reference_step(model, optimizer, schedule, batch, device)

    return run


def batches_of_later_epochs(data: Dataset, config: RunConfig) -> Batches:
    """Return what draws batches as a run does once every image has been read, both mirrored and not."""

    def draw(model: Any, place: Placement) -> Iterator[Batch]:
        images = training_images(model, data, config, place)
        for index in range(len(data.records)):
            for flip in (False, True):
                images.example(index, flip=flip)
        return draw_batches(images, config, place, start=0, steps=STEPS)

    return draw


def nano(options: Any) -> tuple[dict[str, Training], str, str]:
    """Return the trainings for the recipe `bccd`, what they train on, and ours' precision."""
    recipe = "bccd" if options.data != "shapes" else "quick"
    flags = {"data.path": options.data, "train.device": options.device}
    if recipe == "quick":
        flags |= {"data.size": 256, "model.min_size": 256, "model.max_size": 256, "train.batch_size": 4}
    config = build_config(recipe, flags)
    data = open_splits(config.data).train
    classes = len(data.classes)
    own = build_config(recipe, {**flags, "train.precision": "fp32"})
    ours, place = our_training(config, classes, batches_of_later_epochs(data, config))
    fp32, _ = our_training(own, classes, batches_of_later_epochs(data, own))
    sizes = {"min_size": config.model.min_size, "max_size": config.model.max_size}
    peer = photo_batches(data, batch_size=config.train.batch_size, workers=options.workers, seed=0)
    torch.manual_seed(0)
    theirs = reference_training(stock_nano(classes, **sizes), config, peer, place.device)
    what = f"{data.name}, batch {config.train.batch_size}, {sizes['max_size']} x {sizes['min_size']} pixels"
    return {REFERENCE: theirs, OURS: ours, FP32: fp32}, what, place.precision


def resnet50(options: Any) -> tuple[dict[str, Training], str, str]:
    """Return the trainings for torchvision's ResNet-50 pyramid on synthetic images, what they are, ours' precision."""
    side, count, boxes = 640, 2, 10
    flags = {
        "model.name": "resnet50-fpn", "model.min_size": side, "model.max_size": side, "train.batch_size": count,
        "train.device": options.device, "optim.lr": 1e-4,
    }  # fmt: skip
    config, generator = RunConfig().replace(flags), torch.Generator().manual_seed(0)
    images, targets = [], []
    for _ in range(count):
        images.append(torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8))
        size = 20 + 200 * torch.rand(boxes, 2, generator=generator)
        corner = torch.rand(boxes, 2, generator=generator) * (side - size)
        labels = torch.randint(1, 4, (boxes,), generator=generator)
        targets.append({"boxes": torch.cat([corner, corner + size], 1), "labels": labels})
    ours, place = our_training(config, 3, lambda model, place: itertools.repeat((images, targets)))
    as_floats = ([image.float() / 255 for image in images], copy.deepcopy(targets))
    torch.manual_seed(0)
    theirs = reference_training(stock_resnet50(3, side=side), config, itertools.repeat(as_floats), place.device)
    trainings = {REFERENCE: theirs, OURS: ours}
    return trainings, f"synthetic, batch {count}, {side} x {side} pixels, {boxes} boxes an image", place.precision


def main() -> None:
    """Measure and print one table."""
    options = arguments(
        __doc__,
        net={"default": "nano", "choices": ["nano", "resnet50-fpn"]},
        data={"default": "shapes", "help": "a data set for nano"},
        rounds={"type": int, "default": 8},
        workers={"type": int, "default": 2, "help": "loader processes of the reference"},
        threads={"type": int, "default": 0, "help": "of torch; 0: as many as cores"},
    )
    if options.threads:
        torch.set_num_threads(options.threads)
    report = Report(f"A training step of {options.net}", options.device)
    trainings, what, precision = (nano if options.net == "nano" else resnet50)(options)
    loaders = options.workers if options.net == "nano" else 0
    untimed, steps = UNTIMED[options.net], TIMED[options.net]
    for warm_up in trainings.values():
        warm_up(1)
    times = interleaved(
        {name: functools.partial(training, steps) for name, training in trainings.items()},
        rounds=options.rounds,
        device=options.device,
        before=lambda name: trainings[name](untimed),
    )
    rows = []
    for name, taken in times.items():
        label = f"{name}, {precision}" if name == OURS else name
        own = [f"{1000 * median(taken, cpu=cpu) / steps:.0f}" for cpu in (False, True)]
        rows.append([label, *own, *(ratio(times[REFERENCE], taken, cpu=cpu) for cpu in (False, True))])
    report.table(
        f"{options.net}: {what}",
        ["loop", "ms a step", "CPU ms a step", "reference / this, wall", "reference / this, CPU"],
        rows,
        f"{options.rounds} rounds of {steps} steps, after {untimed} that are not timed; medians, in brackets the "
        f"quartiles of the ratio. CPU time is without the reference's {loaders} loader processes.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
