"""Which device, which precision, how many processes; each with its reason."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smoothiou.errors import ConfigError

_PROCESSES = (("WORLD_SIZE", "1"), ("RANK", "0"))


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


def choose_place(device: str, precision: str, *, join: bool = False) -> Place:
    """Return device and precision.

    Args:
        device, precision: as in the settings.
        join: whether this process is one of those that torchrun announces (see `processes.join_processes`); else it
            works alone.

    Raises:
        ConfigError: a device that this machine has not, or one device for several processes.
    """
    world, rank = (int(os.environ.get(key, default)) if join else int(default) for key, default in _PROCESSES)
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"train.device: {name} was asked for, but torch sees no CUDA device.", hint="Use auto or cpu."
        )
    if world > 1 and name.startswith("cuda:"):
        raise ConfigError(f"train.device: {name} cannot be shared by {world} processes.", hint="Use cuda or auto.")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0') if join else 0}"
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"train.device: expected auto, cpu, cuda or cuda:N, got {device!r}.") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"train.device: expected auto, cpu, cuda or cuda:N, got {device!r}.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"train.device: {name} was asked for, but there are {torch.cuda.device_count()} devices.")
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


def forget_peak_memory(device: torch.device) -> None:
    """Begin to measure the largest memory anew, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the largest memory held since `forget_peak_memory`: on the GPU where one is used, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None  # other systems only know the peak of the whole process, which is no run's own
    return float(status.split("VmHWM:")[1].split()[0]) / 2**10
