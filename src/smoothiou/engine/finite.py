"""Stop a training at the first number that is not finite, without waiting for the step that a GPU is still at."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothiou.errors import DivergedError

DELAY = {"cuda": 1}
"""Steps after which a step is checked, by type of device; 0 on others."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What is kept of a step until it is checked; its witness is on the host once the event has come."""

    step: int
    losses: Mapping[str, Tensor]
    witness: Tensor
    images: Sequence[str]
    copied: torch.cuda.Event | None


class FiniteCheck:
    """Checks the losses and the gradient of every step.

    The witness of a step is its total loss plus the norm of its gradient: one number, not finite where either is not.
    On a CPU it is checked before the optimizer writes into the weights. A GPU works behind the host, which would have
    to wait until it has caught up; so the number is copied as the GPU gets there, and checked when the next step has
    been queued. One update may have been made with it by then, but never a second one, and whoever calls `settle`
    before weights are saved, evaluated or logged saves none of it.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.delay = DELAY.get(device.type, 0)
        self._pending: deque[_Step] = deque()

    def add(self, losses: Mapping[str, Tensor], witness: Tensor, *, step: int, images: Sequence[str]) -> None:
        """Add a step, and check the one that is due.

        Args:
            losses: by name, for the message.
            witness: total loss plus norm of the gradient.
            step: counted from 0.
            images: names of the images of the batch.

        Raises:
            DivergedError: the step that is due was not finite.
        """
        witness, copied = witness.detach(), None
        if witness.is_cuda:
            host = torch.empty((), dtype=witness.dtype, pin_memory=True)
            witness = host.copy_(witness, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._pending.append(_Step(step, losses, witness, images, copied))
        self._check(leave=self.delay)

    def settle(self) -> None:
        """Check all steps that are left.

        Raises:
            DivergedError: one of them was not finite.
        """
        self._check(leave=0)

    def _check(self, *, leave: int) -> None:
        while len(self._pending) > leave:
            step = self._pending.popleft()
            if step.copied is not None:
                step.copied.synchronize()
            if not bool(torch.isfinite(step.witness)):
                raise _diverged(step)


def _diverged(step: _Step) -> DivergedError:
    values = {key: float(value) for key, value in step.losses.items()}
    wrong = [f"{key} is {value:g}" for key, value in values.items() if not math.isfinite(value)]
    what = ", ".join(wrong) or "the gradient is not finite though every loss is"
    return DivergedError(
        f"Training diverged at step {step.step + 1}: {what}; images: {', '.join(step.images)}.",
        hint="The last save is from before. Lower optim.lr, set optim.clip_norm, or look at these images' boxes.",
    )
