"""The training loop, to be read from top to bottom.

It assumes only that `model(images, targets)` returns a dict of scalar losses, and that what is random inside a step is
drawn from the generators that seeding.py sets. One step: batch -> losses -> gradients -> clipped -> optimizer.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor, nn

from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.distributed import any_process, mean_over_processes
from smoothiou.engine.finite import FiniteCheck
from smoothiou.engine.optim import clip_gradients, learning_rate, set_learning_rate
from smoothiou.engine.sections import TrainConfig
from smoothiou.engine.seeding import seed_step
from smoothiou.errors import InterruptedRun
from smoothiou.signals import replace_handlers

Batch = tuple[list[Tensor], list[dict[str, Any]]]
Row = dict[str, float]

EPOCH_SECONDS = 10.0
"""The end of an epoch is saved if the last save is so old; epochs of small data sets take less."""


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    config: RunConfig,
    placement: Placement,
    *,
    start: int,
    epoch_images: int,
    log: Callable[[Row], None],
    save: Callable[[int], None],
    evaluate: Callable[[int], Row] | None = None,
    enough: Callable[[int], bool] = lambda step: False,
    statistics: Callable[[], Mapping[str, Tensor]] = dict,
    image_name: Callable[[dict[str, Any]], str] = str,
) -> None:
    """Train from step `start` until the batches end, or it is enough.

    Args:
        model: returns a dict of losses; wrapped in DDP where there are several processes.
        optimizer: over the model's parameters.
        batches: one (images, targets) per step that is left, as `to_device` takes them.
        config: steps, rates, seed, and how often something is logged, evaluated and saved.
        placement: device, precision and rank.
        start: the step it begins or continues at.
        epoch_images: size of the training split.
        log: takes a row of numbers every `train.log_every` steps.
        save: writes the state after a step.
        evaluate: returns columns for the row every `train.eval_every` steps.
        enough: whether to end after an evaluation, though steps are left.
        statistics: more numbers of the last step, as tensors.
        image_name: names the image of a target, for messages.

    All processes call `log`, `save`, `evaluate` and `statistics` at the same steps.

    Raises:
        DivergedError: a loss or the gradient is not finite; the weights of the last save are untouched by it.
        InterruptedRun: SIGINT or SIGTERM came; the state is saved.
    """
    settings, optim = config.train, config.optim
    model.train()
    parameters = list(model.parameters())
    finite = FiniteCheck(placement.device)
    saved_at = time.monotonic()
    with Interrupts() as interrupts:
        for step, (images, targets) in enumerate(batches, start):
            rate = learning_rate(optim, step=step, steps=settings.steps)
            set_learning_rate(optimizer, rate)
            seed_step(settings.seed, step, rank=placement.rank)

            losses, total = compute_losses(model, images, targets, placement)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            losses, total = {key: value.detach() for key, value in losses.items()}, total.detach()
            norm = clip_gradients(parameters, largest=optim.clip_norm, each=optim.clip_by == "variable")
            finite.add(losses, total + norm, step=step, images=[image_name(target) for target in targets])
            optimizer.step()

            done = step + 1
            last = done == settings.steps
            evaluates = evaluate is not None and settings.eval_every > 0 and (last or done % settings.eval_every == 0)
            if evaluates or last or done % settings.log_every == 0:
                finite.settle()
                means = mean_over_processes({**losses, "loss": total}, placement)
                numbers = {**means, **statistics(), "grad_norm": norm}
                row = {"step": done, "epoch": done * settings.batch_size / epoch_images, "lr": rate, **to_host(numbers)}
                if evaluate is not None and evaluates:
                    row |= evaluate(done)
                    model.train()
                log(row)

            # Clocks differ: what is due in one process is done by all.
            due = is_save_due(settings, done, epoch_images, age=time.monotonic() - saved_at)
            over = evaluates and enough(done)
            stop, due, over = any_process(interrupts.requested, due, over, placement=placement)
            if stop or last or evaluates or due:
                finite.settle()
                save(done)
                saved_at = time.monotonic()
            if stop:
                # A process that ended now would have the others ended before they saved.
                any_process(stop, placement=placement)
                raise InterruptedRun(
                    f"Stopped after step {done} of {settings.steps}; the state is saved.",
                    hint="Give the same command again to continue.",
                )
            if over:
                break
        finite.settle()


def compute_losses(
    model: nn.Module, images: list[Tensor], targets: list[dict[str, Any]], placement: Placement
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses of a batch by name, and their sum."""
    with placement.autocast():
        losses = model(*to_device(images, targets, placement.device))
    return losses, torch.stack(list(losses.values())).sum()


def is_save_due(settings: TrainConfig, done: int, epoch_images: int, *, age: float) -> bool:
    """Return whether to save after step `done`, when the last save is `age` seconds old."""
    ends_epoch = done * settings.batch_size // epoch_images > (done - 1) * settings.batch_size // epoch_images
    return age >= settings.save_seconds or (ends_epoch and age >= EPOCH_SECONDS)


def to_device(
    images: list[Tensor], targets: list[dict[str, Any]], device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return a batch as a detector takes it: images as floats in [0, 1], of the targets only the tensors.

    Float images have been prepared for the detector and stay as they are. Where a target says `mirror`, its boxes are
    mirrored left to right already, and the pixels are mirrored by this function.
    """
    moved = [image.to(device, non_blocking=True) for image in images]
    moved = [image.flip(-1) if target.get("mirror") else image for image, target in zip(moved, targets, strict=True)]
    floats = [image if image.is_floating_point() else image.float().div_(255) for image in moved]
    tensors = [{k: v.to(device, non_blocking=True) for k, v in t.items() if isinstance(v, Tensor)} for t in targets]
    return floats, tensors


def to_host(numbers: Mapping[str, Tensor]) -> Row:
    """Bring scalars to the host in one transfer."""
    packed = torch.stack([value.detach().float().reshape(()) for value in numbers.values()]).cpu().tolist()
    return dict(zip(numbers, packed, strict=True))


class Interrupts:
    """Turns the first SIGINT or SIGTERM into a request; a second one, later, ends the process as usual."""

    def __init__(self) -> None:
        self.requested = False
        self.requested_at = 0.0
        self._restore: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._restore = replace_handlers(self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        # Ctrl-C under torchrun arrives twice at once, from the terminal and from torchrun.
        if self.requested and time.monotonic() - self.requested_at > 2:
            self._restore()
            signal.raise_signal(number)
        if not self.requested:
            self.requested, self.requested_at = True, time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._restore()
