"""The training loop, to be read from top to bottom.

It assumes only that `model(images, targets)` returns a dict of scalar losses, and that what is random inside a step is
drawn from torch's generators (see seeding.py). One step: batch -> losses -> gradients -> clipped -> optimizer.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from smoothiou.engine.config import OptimConfig
from smoothiou.engine.finite import FiniteWatch
from smoothiou.engine.optim import clip_gradients, learning_rate, set_learning_rate
from smoothiou.engine.seeding import seed_step
from smoothiou.engine.sinks import Sink
from smoothiou.errors import InterruptedRun

Batch = tuple[list[Tensor], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """Everything a training needs beside model, optimizer and batches.

    Args:
        steps: length of the run; `start` is the step it begins or continues at.
        optim: rates and clipping.
        seed: for what is random inside a step.
        images: size of the training split, to state the epoch.
        device, precision: where and in what format ("fp32" or "bf16") to compute.
        log_every: steps between two rows for the sinks.
        eval_every: steps between two calls of `evaluate`; 0 for none.
        save_seconds: time between two calls of `save`, which is also called at the end of an epoch of some length.
        seconds_before: time that the run had taken before it was interrupted.
    """

    steps: int
    start: int
    optim: OptimConfig
    seed: int
    images: int
    batch_size: int
    device: torch.device
    precision: str
    log_every: int
    eval_every: int
    save_seconds: float
    seconds_before: float = 0.0


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    loop: Loop,
    *,
    sinks: Sequence[Sink],
    statistics: Callable[[], Mapping[str, Tensor]],
    evaluate: Callable[[int], Mapping[str, float]],
    save: Callable[[int], None],
    name: Callable[[dict[str, Any]], str],
    agree: Callable[[bool], bool] = bool,
    together: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> None:
    """Train from `loop.start` to `loop.steps`.

    Args:
        model: gives a dict of losses; wrapped in DDP where there are several processes.
        optimizer: over the model's parameters.
        batches: one (images, targets) per step that is left, as `to_device` takes them.
        loop: settings.
        sinks: take a row every `log_every` steps.
        statistics: more numbers of the last step, as tensors; all processes ask at the same steps.
        evaluate: called after a step with its number, in all processes; returns columns for the row.
        save: writes the state after a step.
        name: names the image of a target, for messages.
        agree: tells whether any process was asked to stop, so that all stop after the same step.
        together: gives the losses of the whole batch, of which each process computes a part; all call it each step, so
            that none goes on where another's loss is not finite.

    Raises:
        DivergedError: a loss or the gradient is not finite; the weights of the last save are untouched by it.
        InterruptedRun: SIGINT or SIGTERM came; the state is saved.
    """
    model.train()
    began = saved = time.monotonic()
    watch = FiniteWatch(loop.device)
    with Interrupts() as interrupts:
        for step, (images, targets) in enumerate(batches, loop.start):
            rate = learning_rate(loop.optim, step=step, steps=loop.steps)
            set_learning_rate(optimizer, rate)
            seed_step(loop.seed, step)

            inputs, wanted = to_device(images, targets, loop.device)
            with torch.autocast(loop.device.type, torch.bfloat16, enabled=loop.precision == "bf16"):
                losses = model(inputs, wanted)
            total = torch.stack(list(losses.values())).sum()

            optimizer.zero_grad(set_to_none=True)
            total.backward()
            losses, total = _of_the_batch(losses, total, together)
            norm = clip_gradients(model, largest=loop.optim.clip_norm, each=loop.optim.clip_by == "variable")
            watch.note(losses, total + norm, step=step, images=[name(target) for target in targets])
            optimizer.step()

            done = step + 1
            measured: dict[str, float] = {}
            watched = bool(loop.eval_every) and (done % loop.eval_every == 0 or done == loop.steps)
            logged = watched or done % loop.log_every == 0 or done == loop.steps
            if logged:
                watch.settle()
            if watched:
                measured = dict(evaluate(done))
                model.train()
            if logged:
                row = _row(losses, statistics(), total=total, norm=norm)
                row |= {"step": done, "epoch": done * loop.batch_size / loop.images, "lr": rate, **measured}
                row["seconds"] = loop.seconds_before + time.monotonic() - began
                for sink in sinks:
                    sink.write(row)
            stop = agree(interrupts.asked)
            if stop or done == loop.steps or watched or _is_due(loop, done, time.monotonic() - saved):
                watch.settle()
                save(done)
                saved = time.monotonic()
            if stop:
                agree(stop)  # a process that ended now would have the others ended before they have saved
                raise InterruptedRun(
                    f"Stopped after step {done} of {loop.steps}; the state is saved.",
                    hint="Give the same command again to continue.",
                )
        watch.settle()


def _of_the_batch(
    losses: Mapping[str, Tensor], total: Tensor, together: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
) -> tuple[Mapping[str, Tensor], Tensor]:
    """Return losses and total of the batch without their graph, which has done its work."""
    whole = together({**{key: value.detach() for key, value in losses.items()}, "": total.detach()})
    return {key: value for key, value in whole.items() if key}, whole[""]


EPOCH_SECONDS = 10.0
"""The end of an epoch is worth a save if the last one is so old; epochs of small data sets take less."""


def _is_due(loop: Loop, done: int, age: float) -> bool:
    """Return whether to save after a step, when the last save is `age` seconds old."""
    epoch, before = (steps * loop.batch_size // loop.images for steps in (done, done - 1))
    return age >= loop.save_seconds or (epoch > before and age >= EPOCH_SECONDS)


def to_device(
    images: list[Tensor], targets: list[dict[str, Any]], device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return a batch as a detector takes it: images as floats in [0, 1], of the targets only the tensors.

    Images that are floats already have been prepared for the detector, and stay as they are. Where a target says
    `mirror`, its boxes are mirrored left to right already, and the pixels are here.
    """
    moved = [image.to(device, non_blocking=True) for image in images]
    moved = [image.flip(-1) if target.get("mirror") else image for image, target in zip(moved, targets, strict=True)]
    inputs = [image if image.is_floating_point() else image.float().div_(255) for image in moved]
    wanted = [{k: v.to(device, non_blocking=True) for k, v in t.items() if isinstance(v, Tensor)} for t in targets]
    return inputs, wanted


def _row(
    losses: Mapping[str, Tensor], statistics: Mapping[str, Tensor], *, total: Tensor, norm: Tensor
) -> dict[str, float]:
    """Bring all numbers of a step to the host in one transfer."""
    named = {**losses, **statistics, "loss": total, "grad_norm": norm}
    packed = torch.stack([value.detach().float().reshape(()) for value in named.values()]).cpu().tolist()
    return dict(zip(named, packed, strict=True))


class Interrupts:
    """Turns the first SIGINT or SIGTERM into a polite request; a second one, later, ends the process as usual."""

    def __init__(self) -> None:
        self.asked = False
        self.since = 0.0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; elsewhere (a test, a notebook's worker) signals stay as they are.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        # Ctrl-C under torchrun arrives twice at once, from the terminal and from torchrun.
        if self.asked and time.monotonic() - self.since > 2:
            for asked, handler in self.previous.items():
                signal.signal(asked, handler)
            signal.raise_signal(number)
        if not self.asked:
            self.asked, self.since = True, time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
