"""Batches of a run, also from loader processes that may hang, die, or be signalled."""

from __future__ import annotations

import multiprocessing
import re
import signal
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from smoothiou.data.augment import AUGMENTATIONS
from smoothiou.data.dataset import DetectionDataset, PreparedDataset, collate
from smoothiou.data.records import Dataset
from smoothiou.detectors import take_prepared
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.loop import Batch
from smoothiou.engine.seeding import Batches, Draw
from smoothiou.errors import ConfigError, SmoothIoUError


def training_images(
    model: nn.Module, data: Dataset, config: RunConfig, placement: Placement
) -> DetectionDataset | PreparedDataset:
    """Return the training images: cached resized and normalised for a CPU, only decoded for a GPU, which does the rest.

    Args:
        model: the detector, which from now on takes prepared images as well.
        data: the training split.
        config: size of images and of the cache.
        placement: with the device.
    """
    cache_mb = config.train.cache_mb
    if AUGMENTATIONS[config.train.augment] is not None:
        return _augmented_images(model, data, config, placement)
    prepare = take_prepared(model) if cache_mb and placement.device.type == "cpu" else None
    if prepare is None:
        return DetectionDataset(data, cache_mb=cache_mb, mirror="here" if placement.device.type == "cpu" else "later")
    # Where memory is too short for all of them, decoded images go first: decoding costs more than resizing.
    short, long = config.model.min_size, config.model.max_size
    sizes = [(record.height, record.width) for record in data.records]
    scales = [min(short / min(size), long / max(size)) for size in sizes]
    pixels = sum(height * width * scale**2 for (height, width), scale in zip(sizes, scales, strict=True))
    fits = 2 * 12 * pixels <= cache_mb * 2**20  # mirrored or not, three channels of four bytes
    decoded = DetectionDataset(data, cache_mb=0 if fits else cache_mb)
    left = cache_mb - decoded.pixel_bytes // 2**20 if decoded.cached else cache_mb
    return PreparedDataset(decoded, prepare, cache_mb=left)


def _augmented_images(
    model: nn.Module, data: Dataset, config: RunConfig, placement: Placement
) -> DetectionDataset | PreparedDataset:
    """Return images of which each epoch has others, so that only decoded ones are worth caching."""
    on_cpu, is_scaled = placement.device.type == "cpu", config.train.augment == "scale"
    prepare = take_prepared(model) if on_cpu or is_scaled else None
    if is_scaled and prepare is None:
        raise ConfigError(
            "train.augment = scale: this detector draws the size of its images itself.", hint="Choose another preset."
        )
    mirror = "later" if prepare is None and not on_cpu else "here"
    augment = AUGMENTATIONS[config.train.augment]
    images = DetectionDataset(data, cache_mb=config.train.cache_mb, mirror=mirror, augment=augment)
    return PreparedDataset(images, prepare, cache_mb=0) if prepare is not None else images


def draw_batches(
    images: DetectionDataset | PreparedDataset, config: RunConfig, placement: Placement, *, start: int, steps: int
) -> Generator[Batch, None, None]:
    """Yield this process's batches of the steps from `start` up to and without `steps`.

    Raises:
        DataError: an image cannot be read.
    """
    workers = config.train.workers
    flip = 0.0 if config.train.augment == "none" else config.train.flip
    batches = Batches(
        images=len(images), batch_size=config.train.batch_size, seed=config.train.seed, flip=flip,
        start=start, steps=steps, rank=placement.rank, world_size=placement.world_size,
    )  # fmt: skip
    loader = DataLoader(
        _Examples(images),
        batch_sampler=batches,  # type: ignore[arg-type]  # an iterable of lists, of draws instead of numbers
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=placement.device.type == "cuda",
        worker_init_fn=_ignore_signals if workers else None,
    )
    return _batches(loader, config)


def _ignore_signals(worker: int) -> None:
    """Ignore SIGINT and SIGTERM: a signal to the whole process group must not take the data from the step at hand.

    The training ends its loaders itself, and a loader whose training has been killed notices within seconds. That no
    one takes a batch any more is no fault of a loader's, and needs no traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.excepthook = _mute_broken_connections


def _mute_broken_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


Example = tuple[torch.Tensor, dict[str, Any]]


class _Examples(TorchDataset[Example | SmoothIoUError]):
    """The images of a split by `Draw`."""

    def __init__(self, images: DetectionDataset | PreparedDataset) -> None:
        self.images = images

    def __getitem__(self, draw: Draw) -> Example | SmoothIoUError:
        try:
            return self.images.example(draw.index, flip=draw.flip, seed=draw.seed)
        except SmoothIoUError as error:
            return error  # raised in a worker it would arrive as a traceback, without its hint


def _collate(examples: list[Example | SmoothIoUError]) -> Batch | SmoothIoUError:
    faults = [example for example in examples if isinstance(example, SmoothIoUError)]
    return faults[0] if faults else collate([e for e in examples if not isinstance(e, SmoothIoUError)])


def _batches(loader: DataLoader[Any], config: RunConfig) -> Generator[Batch, None, None]:
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    workers = [child for child in multiprocessing.active_children() if child not in before]
    try:
        while True:
            with _time_limit(config, workers) if workers else nullcontext():
                batch = next(batches, None)
            if batch is None:
                return
            if isinstance(batch, SmoothIoUError):
                raise batch
            yield batch
    finally:
        # An error's traceback keeps the iterator alive, and with it its processes, so they are not left to its end.
        getattr(batches, "_shutdown_workers", lambda: None)()
        for worker in workers:
            if worker.is_alive():  # one that hangs, which only this ends
                worker.kill()
                worker.join(5)


@contextmanager
def _time_limit(config: RunConfig, workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Kill loader processes that take too long, which wakes whoever waits for them, whatever they hang in.

    The `timeout` of DataLoader would not do: a batch is fetched from its process in several messages, and only the
    first has one.
    """
    late = threading.Event()

    def kill() -> None:
        late.set()
        for worker in workers:
            worker.kill()

    timer = threading.Timer(config.train.load_seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if not late.is_set():
            # Batches come through connections; that of a process that has just been killed breaks before it is missed.
            broken = isinstance(error, (ConnectionError, EOFError, FileNotFoundError))
            if broken and "DataLoader worker process" not in str(error):
                raise _ended(f"has ended ({getattr(error, 'strerror', None) or type(error).__name__})") from error
            raise
        raise SmoothIoUError(
            f"No batch came from the {config.train.workers} loader processes within {config.train.load_seconds:g} s.",
            hint="Is the disk of the images reachable? The same command continues; train.load_seconds sets the time, "
            "and --train.workers 0 reads in the training process.",
        ) from error
    finally:
        timer.cancel()


def loader_fault(error: Exception) -> SmoothIoUError | None:
    """Return the error where a loader process has ended; None for other errors."""
    match = re.search(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (.+)", str(error))
    return _ended(match[1].rstrip(". ")) if match else None


def _ended(how: str) -> SmoothIoUError:
    return SmoothIoUError(
        f"A loader process {how}.",
        hint="Was memory short? The same command continues; lower train.workers or train.cache_mb.",
    )
