"""Device, precision and number of processes of a run, each with its reason."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smoothiou.detectors.registry import detector_info
from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.launch import Launch, launched


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in what format a run computes.

    Args:
        device: torch device.
        precision: "fp32" or "bf16", the format of matrix products (losses are fp32 always).
        reason: why these two, for the manifest.
        rank, world_size: this process and the number of processes.
    """

    device: torch.device
    precision: str
    reason: str
    rank: int = 0
    world_size: int = 1

    def autocast(self) -> torch.autocast:
        """Return the context in which a detector runs: autocast to bf16, or one that changes nothing."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def placement_of(config: RunConfig, *, distributed: bool = False) -> Placement:
    """Return where a run computes, as `choose_placement` does for its device, precision and detector."""
    depthwise = detector_info(config.model.name).depthwise and config.model.freeze != "backbone"
    return choose_placement(config.train.device, config.train.precision, distributed=distributed, depthwise=depthwise)


def choose_placement(device: str, precision: str, *, distributed: bool = False, depthwise: bool = False) -> Placement:
    """Return device and precision.

    Args:
        device, precision: as in the settings.
        distributed: whether this process is one of those that torchrun announces (see `join_processes`).
        depthwise: whether the detector trains depthwise convolutions: a CPU then gains nothing from bf16.

    Raises:
        ConfigError: a device that this machine has not, one device for several processes, or a broken environment.
    """
    process = launched() if distributed else Launch()
    rank, world_size = process.rank, process.world_size
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"train.device: {name} was asked for, but torch sees no CUDA device.", hint="Use auto or cpu."
        )
    if world_size > 1 and name.startswith("cuda:"):
        raise ConfigError(f"train.device: {name} cannot be shared by {world_size} processes.", hint="Use cuda or auto.")
    if name == "cuda":
        name = f"cuda:{process.local_rank}"
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"train.device: expected auto, cpu, cuda or cuda:N, got {device!r}.") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"train.device: expected auto, cpu, cuda or cuda:N, got {device!r}.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"train.device: {name} was asked for, but there are {torch.cuda.device_count()} devices.")
    if precision != "auto":
        chosen_precision, why = precision, "asked for"
    elif depthwise and chosen.type == "cpu":
        chosen_precision, why = "fp32", "depthwise convolutions"
    else:
        chosen_precision, why = ("bf16", "native bf16") if has_native_bf16(chosen) else ("fp32", "no native bf16")
    reason = f"{device} -> {chosen}; {chosen_precision}: {why}"
    return Placement(chosen, chosen_precision, reason, rank, world_size)


def has_native_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bf16 natively (emulation is slower than fp32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def describe_devices() -> dict[str, Any]:
    """Return devices, the choice of "auto" and the number of threads, for `smoothiou env`."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    reason = choose_placement("auto", "auto").reason
    return {"device": reason, "cuda_devices": devices, "threads": torch.get_num_threads()}


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure the peak of memory anew, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak of memory in MiB since `reset_peak_memory`: of the GPU where one is used, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None  # other systems only know the peak of the whole process, which is not that of this run
    return float(status.split("VmHWM:")[1].split()[0]) / 2**10
