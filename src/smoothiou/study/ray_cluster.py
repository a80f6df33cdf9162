"""A Ray cluster to work on: reached without noise, and looked at before anything is begun there."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from smoothiou.errors import ConfigError, SmoothIoUError
from smoothiou.study import ray_facts
from smoothiou.study.ray_cell import why_unfit

LOOK_SECONDS = 120
REACH_SECONDS = 5

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of what it will do one day
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """How cells are spread over a cluster.

    Args:
        address: HOST:PORT of the cluster; None: of the environment (RAY_ADDRESS) or of this machine, else a
            cluster of this machine alone for the time of the command.
        cpus: cores of a cell, 1 or more.
        gpus: of a cell: 0, 1, or a share below 1 where several cells share one.
        retries: how often a cell may lose its machine before it counts as failed.
        shared: use the study's folder on every machine that sees it. False: none shares it, whatever is seen.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0
    retries: int = 3
    shared: bool = True

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise ConfigError(f"--cpus-per-cell: expected 1 or more, got {self.cpus}.")
        if not 0 <= self.gpus <= 1:
            raise ConfigError(
                f"--gpus-per-cell: expected 0 to 1, got {self.gpus:g}.", hint="A cell of a study trains on one device."
            )
        if self.retries < 0:
            raise ConfigError(f"--retries: expected 0 or more, got {self.retries}.")
        _refuse_client(self.address or os.environ.get("RAY_ADDRESS", ""))


def _refuse_client(address: str) -> None:
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address or RAY_ADDRESS: {address}: Ray's client protocol is not supported.",
            hint="Give the command on a machine of the cluster, with HOST:PORT.",
        )


@contextlib.contextmanager
def connected(options: RayOptions) -> Iterator[Any]:
    """Give the module `ray`, connected to a cluster, and leave the cluster again.

    Ray prints what it thinks of its nodes to stdout, which is for programs: until the end nothing gets there.

    Raises:
        ConfigError: Ray is not installed, there is no such cluster, or it has another version.
    """
    os.environ.update(_QUIET)
    _reach(options.address or os.environ.get("RAY_ADDRESS", ""))
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher ray: Ray is not installed.", hint="pip install 'smoothiou[ray]'") from None
    earlier = signal.getsignal(signal.SIGTERM)
    with open(os.devnull, "w") as nowhere, _redirected(nowhere):
        try:
            ray.init(
                address=options.address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False,
                configure_logging=True,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise _refused(options.address, error) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, earlier)  # Ray has set its own
        try:
            yield ray
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _redirected(to: TextIO) -> Iterator[None]:
    sys.stdout.flush()
    with contextlib.redirect_stdout(to):
        yield


def _reach(address: str) -> None:
    """Knock at an address: Ray itself would wait for minutes."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--address: expected HOST:PORT, got {address!r}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _refused(address, error) from error


def _refused(address: str | None, error: Exception) -> ConfigError:
    words = " ".join(str(error).split())
    where = address or os.environ.get("RAY_ADDRESS") or "this machine"
    if "ersion mismatch" in words:
        return ConfigError(
            f"Ray at {where} has another version of Python or Ray than this command: {words}",
            hint="Install the same versions on all machines.",
        )
    return ConfigError(
        f"--launcher ray: no cluster was reached at {where}: {words}",
        hint="`ray start --head` begins one; `ray status` tells whether it runs.",
    )


def look(
    ray: Any, options: RayOptions, *, needed: Sequence[str], mark: tuple[str, str], folder: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask every machine of a cluster what it has, and refuse one that cannot run the cells.

    Args:
        ray: from `connected`.
        options: what a cell is to get.
        needed, mark, folder: see `ray_facts.facts`.

    Returns:
        The facts of this machine, and of those that have room for a cell, each with its "cells" at once.

    Raises:
        ConfigError: no machine has room, or one has other versions, other code, or lacks what is to be read.
    """
    here = ray_facts.facts(tuple(needed), mark, folder)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    room = {node["NodeID"]: cells for node in nodes if (cells := _room(node["Resources"], options))}
    if not room:
        cpus = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        gpus = max((node["Resources"].get("GPU", 0) for node in nodes), default=0)
        raise ConfigError(
            f"No machine of the cluster has the {options.cpus} CPUs and {options.gpus:g} GPUs of a cell; "
            f"the largest have {cpus:g} CPUs and {gpus:g} GPUs.",
            hint="Lower --cpus-per-cell or --gpus-per-cell, or start larger machines first.",
        )
    found = _ask(ray, list(room), tuple(needed), mark, folder)
    unfit = [words for there in found.values() if (words := why_unfit(there, here))]
    if unfit:
        raise ConfigError(
            f"Cells cannot run on {len(unfit)} of {len(found)} machines: {' '.join(unfit[:4])}"
            f"{' ...' if len(unfit) > 4 else ''}",
            hint="All machines need the same versions, and the data at the same path (absolute, or seen from the "
            "folder of this command).",
        )
    return here, [{**there, "cells": room[node]} for node, there in found.items()]


def _room(resources: Mapping[str, float], options: RayOptions) -> int:
    """Return how many cells a machine with such resources runs at once."""
    cells = int(resources.get("CPU", 0) // options.cpus)
    if options.gpus:
        devices = resources.get("GPU", 0)
        cells = min(cells, int(devices // 1 * (1 // options.gpus)))
    return cells


def _ask(
    ray: Any, nodes: Sequence[str], needed: tuple[str, ...], mark: tuple[str, str], folder: str
) -> dict[str, dict[str, Any]]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value, so that a machine without smoothiou can still answer.
    ray.cloudpickle.register_pickle_by_value(ray_facts)
    try:
        ask = ray.remote(ray_facts.facts)
        asked = {}
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            asked[node] = ask.options(**options).remote(needed, mark, folder)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(ray_facts)
    found = {}
    for node, answer in asked.items():
        try:
            found[node] = ray.get(answer, timeout=LOOK_SECONDS)
        except ray.exceptions.RayTaskError as error:
            raise SmoothIoUError(f"A machine of the cluster cannot be asked: {_last_line(error)}") from error
        except ray.exceptions.RayError:  # lost meanwhile, or too busy to answer: it gets no say
            continue
    if not found:
        raise SmoothIoUError(f"No machine of the cluster answered within {LOOK_SECONDS} s.")
    return found


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
