"""A training stops at the first number that is not finite, without waiting for the step that a GPU is still at."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothiou.errors import DivergedError

LATE = {"cuda": 1}
"""Steps after which a step is looked at, by type of device; at once on others."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """What a step has left: its losses, their witness on the host (once the event has come), and its images."""

    step: int
    losses: Mapping[str, Tensor]
    witness: Tensor
    images: Sequence[str]
    arrived: torch.cuda.Event | None


class FiniteWatch:
    """Looks at the losses and the gradient of every step.

    The witness of a step is its total loss plus the norm of its gradient: one number, not finite where either is not.
    On a CPU it is looked at before the optimizer writes into the weights. A GPU works behind the host, which would
    have to wait until it has caught up; so the number is copied as the GPU gets there, and looked at when the next step
    has been queued. One update may have been made with it by then, but never a second one, and whoever calls `settle`
    before weights are saved, measured or logged saves none of it.

    Args:
        device: where the training computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.late = LATE.get(device.type, 0)
        self._noted: deque[_Noted] = deque()

    def note(self, losses: Mapping[str, Tensor], witness: Tensor, *, step: int, images: Sequence[str]) -> None:
        """Remember a step, and look at the one before that is due.

        Args:
            losses: by name, for the message.
            witness: total loss plus norm of the gradient.
            step: counted from 0.
            images: names of the images of the batch.

        Raises:
            DivergedError: the step that is due was not finite.
        """
        witness, arrived = witness.detach(), None
        if witness.is_cuda:
            host = torch.empty((), dtype=witness.dtype, pin_memory=True)
            witness = host.copy_(witness, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._noted.append(_Noted(step, losses, witness, images, arrived))
        self._look(leave=self.late)

    def settle(self) -> None:
        """Look at all steps that are left.

        Raises:
            DivergedError: one of them was not finite.
        """
        self._look(leave=0)

    def _look(self, *, leave: int) -> None:
        while len(self._noted) > leave:
            noted = self._noted.popleft()
            if noted.arrived is not None:
                noted.arrived.synchronize()
            if not bool(torch.isfinite(noted.witness)):
                raise _diverged(noted)


def _diverged(noted: _Noted) -> DivergedError:
    values = {key: float(value.detach()) for key, value in noted.losses.items()}
    wrong = [f"{key} is {value:g}" for key, value in values.items() if not torch.isfinite(torch.tensor(value))]
    what = ", ".join(wrong) or "the gradient is not finite though every loss is"
    return DivergedError(
        f"Training diverged at step {noted.step + 1}: {what}; images: {', '.join(noted.images)}.",
        hint="The last save is from before. Lower optim.lr, set optim.clip_norm, or look at these images' boxes.",
    )
