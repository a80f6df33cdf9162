"""Which device, which precision, how many processes; each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed

from smoothiou.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run computes.

    Args:
        device: torch device.
        precision: "fp32" or "bf16", the format of matrix products (losses are fp32 always).
        reason: why these two, for the manifest.
        rank, world: this process and the number of processes.
    """

    device: torch.device
    precision: str
    reason: str
    rank: int = 0
    world: int = 1


def choose_place(device: str, precision: str) -> Place:
    """Return device and precision, and join the process group that torchrun announces.

    Raises:
        ConfigError: a device that this machine has not.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    name = device
    if device == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"train.device: {name} was asked for, but torch sees no CUDA device.", hint="Use auto or cpu."
        )
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"train.device: expected auto, cpu, cuda or cuda:N, got {device!r}.") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"train.device: {name} was asked for, but there are {torch.cuda.device_count()} devices.")
    if world > 1 and not distributed.is_initialized():
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    native = native_bf16(chosen)
    format_ = precision if precision != "auto" else "bf16" if native else "fp32"
    why = "asked for" if precision != "auto" else "native bf16" if native else "no native bf16"
    return Place(chosen, format_, f"{device} -> {chosen}; {format_}: {why}", rank, world)


def native_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bf16 natively (emulation is slower than fp32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def describe_devices() -> dict[str, Any]:
    """Return what `smoothiou env` says about devices."""
    place = choose_place("auto", "auto")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"device": place.reason, "cuda_devices": devices, "threads": torch.get_num_threads()}


def peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory that this process has held: on the GPU where one is used, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
