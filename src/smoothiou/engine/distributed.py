"""Several processes that torchrun starts as one training: DDP, collectives, and naming the process that failed."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from smoothiou.detectors.freeze import HeldStatistics
from smoothiou.engine.devices import Placement
from smoothiou.errors import ConfigError, SmoothIoUError
from smoothiou.signals import replace_handlers

_FAILURE = "smoothiou/failure"
_LOST = re.compile("gloo|NCCL|pair closure|Connection (closed|reset|refused)|Broken pipe|timed? ?out", re.IGNORECASE)
"""What torch says where a process waits in vain for another."""
_store: list[Any] = []


def join_processes(placement: Placement, *, wait_seconds: float) -> None:
    """Join the process group that torchrun announces, where it announces more than this process.

    Args:
        placement: of this process.
        wait_seconds: how long processes wait for each other before they give up.
    """
    if placement.world_size == 1 or dist.is_initialized():
        return
    if placement.device.type == "cuda":
        torch.cuda.set_device(placement.device)
    timeout = timedelta(seconds=wait_seconds)
    try:
        with _signals_end_it():
            store, rank, world_size = next(iter(rendezvous("env://", timeout=timeout)))
    except dist.DistNetworkError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"MASTER_ADDR and MASTER_PORT, {address}: the processes cannot meet there: {reason}",
            hint="Choose a free port of a machine that all of them reach.",
        ) from error
    # A second start by torchrun must not read what the first has written.
    store = PrefixStore(f"smoothiou/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if placement.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    _store[:] = [store]
    atexit.register(_leave)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process: torch waits for the others without a look at Python's handlers."""
    restore = replace_handlers(signal.SIG_DFL)
    try:
        yield
    finally:
        restore()


def _leave() -> None:
    """Destroy the group while Python still stands: its threads can bring down a process that ends under them."""
    if dist.is_initialized():
        dist.destroy_process_group()


def distribute(model: nn.Module, placement: Placement) -> nn.Module:
    """Return a detector as its process trains it: in DDP where there are several, its batch norms synchronised on GPUs.

    On a CPU, for which torch has no `SyncBatchNorm`, each process normalises by its own images, and DDP copies rank 0's
    running statistics to the others at each step.
    """
    if placement.world_size == 1:
        return model
    if placement.device.type == "cuda":
        held = {name: module for name, module in model.named_modules() if isinstance(module, HeldStatistics)}
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for name, module in held.items():  # frozen ones have nothing to synchronise
            model.set_submodule(name, module)
    return DistributedDataParallel(model)


def broadcast(value: Any, placement: Placement) -> Any:
    """Return rank 0's value in every process."""
    values = [value]
    if placement.world_size > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def broadcast_buffers(model: nn.Module, placement: Placement) -> None:
    """Give every process rank 0's running statistics of batch norms."""
    if placement.world_size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def any_process(*flags: bool, placement: Placement) -> list[bool]:
    """Return for each flag whether it is set in any process, in one message."""
    if placement.world_size == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.float32, device=placement.device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values.bool().tolist()


def mean_over_processes(values: Mapping[str, Tensor], placement: Placement) -> Mapping[str, Tensor]:
    """Return the means of scalars over processes, which all name the same, in one message."""
    if placement.world_size == 1:
        return values
    packed = torch.stack([value.detach().float() for value in values.values()])
    dist.all_reduce(packed)
    return dict(zip(values, (packed / placement.world_size).unbind(0), strict=True))


def gather(items: list[Any], placement: Placement) -> list[Any] | None:
    """Return the items of all processes in rank 0, None in the others."""
    if placement.world_size == 1:
        return items
    everyone: list[Any] | None = [None] * placement.world_size if placement.rank == 0 else None
    dist.gather_object(items, everyone)
    return [item for items in everyone for item in items] if everyone is not None else None


def require_same_step(step: int, placement: Placement) -> None:
    """Refuse to continue where processes would begin at different steps, as only those with different folders do.

    Raises:
        ConfigError: they would.
    """
    if placement.world_size == 1:
        return
    steps: list[Any] = [None] * placement.world_size
    dist.all_gather_object(steps, step)
    if min(steps) != max(steps):
        raise ConfigError(
            f"One process would continue from step {min(steps)}, another from step {max(steps)}.",
            hint="All must see one run folder: give --out on a file system that their machines share.",
        )


def report_failure(error: Exception, placement: Placement) -> None:
    """Leave word of what ended this process for those that will wait for it; the first word stays."""
    if placement.world_size == 1 or not _store:
        return
    message, hint = f"{type(error).__name__}: {error}", ""
    if isinstance(error, SmoothIoUError):
        message, hint = error.message, error.hint
    with suppress(RuntimeError):  # the store lives in torchrun, which may have ended already
        _store[0].compare_set(_FAILURE, "", json.dumps({"rank": placement.rank, "message": message, "hint": hint}))


def _reported_failure() -> dict[str, Any] | None:
    """Return what another process has reported, for which it gets two seconds."""
    with suppress(RuntimeError):  # the store lives in torchrun, which may have ended already
        for _ in range(20):
            if _store and _store[0].check([_FAILURE]):
                return json.loads(_store[0].get(_FAILURE))
            time.sleep(0.1)
    return None


def ignore_termination(placement: Placement) -> None:
    """Ignore SIGTERM: torchrun ends all processes once one has ended, and the error has yet to be printed."""
    if placement.device.type == "cuda":  # NCCL would wait for the others' part of what this process leaves undone
        atexit.unregister(_leave)
    if placement.world_size > 1 and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def lost_process(error: Exception, placement: Placement, *, wait_seconds: float) -> SmoothIoUError | None:
    """Return what happened to another process where this error comes from waiting for it; else None."""
    text = str(error)
    lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and _LOST.search(text))
    if placement.world_size == 1 or not lost:
        return None
    failure = _reported_failure()
    if failure is not None:
        message = f"Process {failure['rank']} of {placement.world_size} failed: {failure['message']}"
        return SmoothIoUError(message, hint=failure["hint"])
    if re.search("timed? ?out", text, re.IGNORECASE):
        return SmoothIoUError(
            f"Another of the {placement.world_size} processes did not answer within {wait_seconds:g} s.",
            hint="Does it hang, or is its machine gone? The same command continues from the last save; "
            "train.wait_seconds sets the time.",
        )
    return SmoothIoUError(
        f"Another of the {placement.world_size} processes has ended without a word.",
        hint="Was it killed, or memory short? The same command continues from the last save.",
    )
