"""How long a run will take on this machine, from a few steps and images of it. Nothing is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator

import torch

from smoothiou.data.dataset import PreparedDataset
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build, compiles_loss
from smoothiou.engine.devices import Placement, placement_of
from smoothiou.engine.loading import draw_batches, training_images
from smoothiou.engine.loop import Batch, train
from smoothiou.engine.measure import measure
from smoothiou.engine.open_data import Splits
from smoothiou.engine.optim import build_optimizer
from smoothiou.engine.seeding import seed_weights
from smoothiou.errors import InterruptedRun

STEPS, IMAGES = 3, 12
"""Steps that are timed, after a first one that warms up; test images that are evaluated, twice for the same reason."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunTime:
    """Seconds of the parts of one run.

    Args:
        step: one step, its images at hand.
        load: all images of the training, as far as they are not cached.
        evaluation: one image.
        validations, test: images that are evaluated on the val split, in all passes together, and on the test split.
        start: building the detector.
        steps: of the run.
    """

    step: float
    load: float
    evaluation: float
    validations: int
    test: int
    start: float
    steps: int

    @property
    def seconds(self) -> float:
        """Return the seconds of the whole run."""
        return self.start + self.steps * self.step + self.load + (self.validations + self.test) * self.evaluation


def time_run(config: RunConfig, splits: Splits, *, threads: int | None = None) -> RunTime:
    """Train a few steps and evaluate a few images, and return what a whole run would take.

    Args:
        config: all settings.
        splits: the data.
        threads: of the run, where several share the cores; None: as many as this process has.

    Raises:
        DataError, CheckpointError, DivergedError: what would stop the run's first steps, too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _time_run(config, splits, placement_of(config))
    except InterruptedRun:  # nothing was kept that could be continued
        raise KeyboardInterrupt from None
    finally:
        torch.set_num_threads(before)


def _time_run(config: RunConfig, splits: Splits, placement: Placement) -> RunTime:
    settings, began = config.train, time.monotonic()
    seed_weights(settings.seed)
    model = build(config, classes=len(splits.train.classes), compile_loss=compiles_loss(config, placement))
    model = model.to(placement.device)
    start = time.monotonic() - began

    images = training_images(model, splits.train, config, placement)
    batches = draw_batches(images, config, placement, start=0, steps=min(1 + STEPS, settings.steps))
    loads, steps = list[float](), list[float]()
    train(
        model, build_optimizer(model, config.optim), _timed(batches, loads, steps, placement), config, placement,
        start=0, epoch_images=len(images), log=lambda row: None, save=lambda step: None,
    )  # fmt: skip

    few = dataclasses.replace(splits.test, records=splits.test.records[:IMAGES])
    for _ in ("warm-up", "timed"):
        began = time.monotonic()
        measure(model, few, config, placement, label="", quiet=True)
    evaluation = (time.monotonic() - began) / len(few.records)

    # A cached image is loaded once, or once as it is and once mirrored.
    drawn, views = settings.steps * settings.batch_size, len(images) * (2 if isinstance(images, PreparedDataset) else 1)
    passes = -(-settings.steps // settings.eval_every) if splits.val and settings.eval_every else 0
    return RunTime(
        step=sum(steps[1:]) / len(steps[1:]) if len(steps) > 1 else steps[0],
        load=min(drawn, views if settings.cache_mb else drawn) * sum(loads) / len(loads) / settings.batch_size,
        evaluation=evaluation,
        validations=passes * len(splits.val.records) if splits.val else 0,
        test=len(splits.test.records),
        start=start,
        steps=settings.steps,
    )


def _timed(
    batches: Generator[Batch, None, None], loads: list[float], steps: list[float], placement: Placement
) -> Generator[Batch, None, None]:
    """Yield batches, and note how long each took to load and how long its step took."""
    while True:
        began = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        loads.append(time.monotonic() - began)
        began = time.monotonic()
        yield batch
        if placement.device.type == "cuda":
            torch.cuda.synchronize(placement.device)
        steps.append(time.monotonic() - began)
