"""What the processes of one training tell each other: torchrun starts them, each computes its part of every batch."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from smoothiou.engine.devices import Place
from smoothiou.errors import ConfigError, SmoothIoUError

_FAULT = "smoothiou/fault"
_LOST = re.compile("gloo|NCCL|pair closure|Connection (closed|reset|refused)|Broken pipe|timed? ?out", re.IGNORECASE)
"""What torch says where a process waits in vain for another."""
_store: list[Any] = []


def join_processes(place: Place, *, wait_seconds: float) -> None:
    """Join the process group that torchrun announces, where it announces more than this process.

    Args:
        place: of this process.
        wait_seconds: how long processes wait for each other before they give up.
    """
    if place.world == 1 or distributed.is_initialized():
        return
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    patience = timedelta(seconds=wait_seconds)
    store, rank, world = next(iter(rendezvous("env://", timeout=patience)))
    # A second start by torchrun must not read what the first has written.
    store = PrefixStore(f"smoothiou/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if place.device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=patience)
    _store[:] = [store]
    atexit.register(_leave)


def _leave() -> None:
    """Take the group down while Python still stands: its threads can bring down a process that ends under them."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def said_by_rank_0(word: bool, place: Place) -> bool:
    """Return what rank 0 says, in every process; the others wait for it here."""
    said = [word]
    if place.world > 1:
        distributed.broadcast_object_list(said, src=0)
    return said[0]


def any_process(word: bool, place: Place) -> bool:
    """Return whether any process says yes."""
    if place.world == 1:
        return word
    said = torch.tensor(float(word), device=place.device)
    distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
    return bool(said)


def require_one_step(step: int, place: Place) -> None:
    """Refuse to go on where processes would begin at other steps, which only those with other folders do.

    Raises:
        ConfigError: they would.
    """
    if place.world == 1:
        return
    both = torch.tensor([step, -step], device=place.device)
    distributed.all_reduce(both, op=distributed.ReduceOp.MAX)
    last, first = int(both[0]), -int(both[1])
    if first != last:
        raise ConfigError(
            f"Of the processes one would go on from step {first}, another from step {last}.",
            hint="All must see one run folder: give --out on a file system that their machines share.",
        )


def mean_of_all(values: Mapping[str, Tensor], place: Place) -> Mapping[str, Tensor]:
    """Return the means over processes of these scalars, of which all have the same, in one message."""
    if place.world == 1:
        return values
    packed = torch.stack([value.float() for value in values.values()])
    distributed.all_reduce(packed)
    return dict(zip(values, (packed / place.world).unbind(0), strict=True))


def gathered(items: list[Any], place: Place) -> list[Any] | None:
    """Return the items of all processes in the process of rank 0, and None in the others."""
    if place.world == 1:
        return items
    everyone: list[Any] | None = [None] * place.world if place.rank == 0 else None
    distributed.gather_object(items, everyone)
    return [item for own in everyone for item in own] if everyone is not None else None


def tell_fault(error: SmoothIoUError | Exception, place: Place) -> None:
    """Leave word of what ended this process, for those that will wait for it in vain; the first word stays."""
    if place.world == 1 or not _store:
        return
    hint = error.hint if isinstance(error, SmoothIoUError) else ""
    message = error.message if isinstance(error, SmoothIoUError) else f"{type(error).__name__}: {error}"
    word = json.dumps({"rank": place.rank, "message": message, "hint": hint})
    try:
        _store[0].compare_set(_FAULT, "", word)
    except RuntimeError:  # the store lives in torchrun, which may have ended already
        return


def _told() -> dict[str, Any] | None:
    """Return the word that another process has left, for which it gets two seconds."""
    with suppress(RuntimeError):  # the store lives in torchrun, which may have ended already
        for _ in range(20):
            if _store and _store[0].check([_FAULT]):
                return json.loads(_store[0].get(_FAULT))
            time.sleep(0.1)
    return None


def finish_speaking(place: Place) -> None:
    """Ignore SIGTERM: torchrun ends all processes once one has ended, and what has happened is yet to be told."""
    if place.device.type == "cuda":  # NCCL would wait for the others' part of what this process leaves undone
        atexit.unregister(_leave)
    if place.world > 1 and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fault_of_another(error: Exception, place: Place, *, wait_seconds: float) -> SmoothIoUError | None:
    """Return in words what has become of another process, where this error is about waiting for it; else None."""
    text = str(error)
    lost = isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and _LOST.search(text))
    if place.world == 1 or not lost:
        return None
    told = _told()
    if told is None:
        if re.search("timed? ?out", text, re.IGNORECASE):
            return SmoothIoUError(
                f"Another of the {place.world} processes did not answer within {wait_seconds:g} s.",
                hint="Does it hang, or is its machine gone? The same command continues from the last save; "
                "train.wait_seconds sets the time.",
            )
        return SmoothIoUError(
            f"Another of the {place.world} processes has ended without a word.",
            hint="Was it killed, or memory short? The same command continues from the last save.",
        )
    return SmoothIoUError(f"Process {told['rank']} of {place.world} failed: {told['message']}", hint=told["hint"])
