"""The cells of a study as tasks of a Ray cluster. Ray places them, and tries them again where a machine is lost.

A cell is never trained twice at once: where machines share the study's folder, it is locked there; where they do
not, only what is sent back counts, once.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.files import LockedError, write_bytes, write_text
from smoothiou.study.cells import (
    Cell,
    CellEvent,
    Tally,
    cell_folder,
    cell_state,
    ignore_event,
    lock_cell,
    prepare,
    read_error,
    write_error,
)
from smoothiou.study.local import CONTINUES, catch_signals
from smoothiou.study.ray_task import Files, Outcome, Token, inspect_machine, read_files, run_task, software
from smoothiou.words import counted

TOKEN = ".shared"
REACH_SECONDS, ANSWER_SECONDS, POLL_SECONDS = 5, 120, 0.5


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
            hint = "A cell of a study trains on one device."
            raise ConfigError(f"--gpus-per-cell: expected 0 to 1, got {self.gpus:g}.", hint=hint)
        if self.retries < 0:
            raise ConfigError(f"--retries: expected 0 or more, got {self.retries}.")
        if (self.address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
            hint = "Give the command on a machine of the cluster, with HOST:PORT."
            raise ConfigError("--address or RAY_ADDRESS: Ray's client protocol (ray://) is not supported.", hint=hint)


def run_on_ray(
    folder: str | Path,
    plan: Mapping[str, Any],
    options: RayOptions,
    *,
    on_event: Callable[[CellEvent], object] = ignore_event,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, int]:
    """Train the cells of a study that are not done on a Ray cluster; else as `run_cells`.

    SIGINT and SIGTERM are passed on to all cells, which save their state; a second signal does not wait for them.

    Args:
        folder: of the study.
        plan: from `make_plan`.
        options: which cluster, and what a cell gets.
        on_event: called with each `CellEvent`.
        say: called with a line about the cluster.

    Returns:
        How many cells ended how (see `Tally`).

    Raises:
        ConfigError: there is no Ray or no such cluster, or its machines cannot train the cells.
        InterruptedRun: SIGINT or SIGTERM came.
    """
    folder, tally = Path(folder).absolute(), Tally(plan, on_event)
    device = plan["settings"]["train.device"]
    if device.startswith("cuda:"):
        raise ConfigError(f"train.device: {device}: Ray chooses the device.", hint="Use cuda, with --gpus-per-cell 1.")
    if device == "cuda" and not options.gpus:
        raise ConfigError("train.device: cuda was asked for, but a cell gets no GPU.", hint="Give --gpus-per-cell 1.")
    waiting = [cell for cell in tally.cells if cell_state(folder, cell) != "done"]
    for cell in tally.cells:
        if cell not in waiting:
            tally.add("skipped", cell)
    if not waiting:
        return tally.counts
    token = (str(folder / TOKEN), secrets.token_hex(16)) if options.shared else ("", "")
    try:
        if options.shared:
            write_text(*token)
        with connect(options) as ray:
            versions = software()
            all_shared = check_machines(ray, options, token, versions, say)
            task = ray.remote(
                num_cpus=options.cpus, num_gpus=options.gpus, max_retries=options.retries, scheduling_strategy="SPREAD",
                max_calls=1,  # a process for each cell
            )(run_task)  # fmt: skip
            environment = {
                "study": str(folder), "token": token, "expected": versions, "folder": os.getcwd(),
                "paths": [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path],
                "threads": options.cpus, "gpu": options.gpus > 0,
            }  # fmt: skip
            with catch_signals() as received:
                running = {}
                for cell in waiting:  # Ray begins them in this order
                    home = cell_folder(folder, cell)
                    checkpoint = read_files(home) if not all_shared and (home / "last.ckpt").is_file() else {}
                    running[task.options(name=cell["id"]).remote(cell, checkpoint, **environment)] = cell
                for reference, cell in _ended(ray, running, received, say):
                    outcome = _take_outcome(ray, reference, cell, folder, options)
                    tally.add(outcome.kind, cell, seconds=outcome.seconds, message=outcome.message)
    finally:
        (folder / TOKEN).unlink(missing_ok=True)
    if received:
        raise InterruptedRun("Stopped by a signal.", hint=f"State is saved: {CONTINUES}.")
    return tally.counts


@contextmanager
def connect(options: RayOptions) -> Iterator[Any]:
    """Connect to a cluster, return the module `ray`, and leave the cluster at the end.

    Ray writes about its nodes to stdout, which is for programs: until the end nothing gets there.

    Raises:
        ConfigError: Ray is not installed, there is no such cluster, or it has another version.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
        "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of what it will do one day
        "RAY_task_oom_retries": str(options.retries),  # else a cell that is too large is tried for ever
    }
    try:
        import ray
    except ImportError:
        raise ConfigError("--launcher ray: Ray is not installed.", hint="pip install 'smoothiou[ray]'") from None
    address = options.address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if address not in ("", "auto", "local") and not (host and port.isdigit()):
        raise ConfigError(f"--address: expected HOST:PORT, got {address!r}.")
    earlier = signal.getsignal(signal.SIGTERM)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            if host:  # Ray itself would try for minutes
                socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
            ray.init(options.address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ValueError, RuntimeError, OSError, OverflowError) as error:
            raise ConfigError(
                f"--launcher ray: no cluster at {address or 'this machine'}: {' '.join(str(error).split())}",
                hint="`ray status` tells whether it runs; all machines need the same versions of Python and Ray.",
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, earlier)  # Ray has set its own
        try:
            yield ray
        finally:
            ray.shutdown()


def _ended(
    ray: Any, running: dict[Any, Cell], received: Sequence[signal.Signals], say: Callable[[str], object]
) -> Iterator[tuple[Any, Cell]]:
    """Yield each task that has ended, with its cell, until none runs.

    The first signal interrupts all cells, which save their state; after the second they are not waited for.
    """
    machines, interrupted = None, False
    while running and len(received) < 2:
        before, machines = machines, sum(node["Alive"] for node in ray.nodes())
        if before not in (None, machines):
            say(f"Ray has {counted(machines, 'machine')}, and had {before}; what is lost is tried again.")
        if received and not interrupted:
            interrupted = True
            for reference in running:
                ray.cancel(reference, force=False)
        for reference in ray.wait(list(running), timeout=POLL_SECONDS)[0]:
            yield reference, running.pop(reference)


def _take_outcome(ray: Any, reference: Any, cell: Cell, folder: Path, options: RayOptions) -> Outcome:
    """Return how a cell ended, after writing the files and the error that came with it."""
    errors = ray.exceptions
    try:
        outcome: Outcome = ray.get(reference)
        if outcome.files and prepare(folder, cell):
            with lock_cell(folder, cell):
                write_files(cell_folder(folder, cell), outcome.files)
    except LockedError as error:
        return Outcome("busy", error.message)
    except errors.TaskCancelledError:
        return Outcome("stopped", "not begun")
    except errors.RayTaskError as error:
        outcome = Outcome("failed", f"the worker failed: {last_line(error)}")
    except errors.RayError as error:
        message = f"lost with its machine or worker, after {options.retries} retries ({type(error).__name__})"
        outcome = Outcome("failed", message)
    if outcome.kind == "done" and cell_state(folder, cell) != "done":
        outcome = Outcome("failed", f"done on the cluster, but its result is not in {folder}", outcome.seconds)
    if outcome.kind == "failed" and not read_error(folder, cell):
        write_error(folder, cell, outcome.message, "")
    return outcome


def check_machines(
    ray: Any, options: RayOptions, token: Token, expected: Mapping[str, str], say: Callable[[str], Any]
) -> bool:
    """Ask every machine that has room for a cell whether it can train one, and return whether all share the folder.

    Raises:
        ConfigError: no machine has room, or one has other software.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    room = {node["NodeID"]: cells for node in nodes if (cells := cells_at_once(node["Resources"], options))}
    if not room:
        cpus, gpus = (max((node["Resources"].get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU"))
        raise ConfigError(
            f"No machine of the cluster has the {options.cpus} CPUs and {options.gpus:g} GPUs of a cell; "
            f"the largest have {cpus:g} CPUs and {gpus:g} GPUs.",
            hint="Lower --cpus-per-cell or --gpus-per-cell, or start larger machines first.",
        )
    inspect = ray.remote(num_cpus=0, max_retries=0)(inspect_machine)
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in room]
    answers = [inspect.options(scheduling_strategy=strategy).remote(token, expected) for strategy in strategies]
    shared, unfit = 0, []
    for answer in answers:
        try:
            has_folder, reason = ray.get(answer, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:  # it lacks smoothiou, or is lost
            has_folder, reason = False, f"{last_line(error)}."
        shared += has_folder
        unfit += [reason] if reason else []
    if unfit:
        raise ConfigError(
            f"Cells cannot run on {len(unfit)} of {len(room)} machines: {' '.join(unfit[:4])}",
            hint="Install the same versions on all machines.",
        )
    where = "all machines see" if shared == len(room) else f"{shared} of them see"
    machines, cells = counted(len(room), "machine"), counted(sum(room.values()), "cell")
    say(f"Ray: {machines}, {cells} at once; {where} the study's folder.")
    return shared == len(room)


def cells_at_once(resources: Mapping[str, float], options: RayOptions) -> int:
    """Return how many cells a machine with such resources runs at once."""
    cells = int(resources.get("CPU", 0) // options.cpus)
    if not options.gpus:
        return cells
    on_one_gpu = int(1 / options.gpus + 1e-9)  # 1 // .2 is 4
    return min(cells, int(resources.get("GPU", 0)) * on_one_gpu)


def write_files(home: Path, files: Files) -> None:
    """Write the files of a cell that were sent back: `done` last, and no checkpoint of another attempt stays."""
    for name in sorted(files, key=lambda name: name == "done"):
        if Path(name).name != name or name.startswith("."):
            raise ConfigError(f"{home}: a worker sent a file of the name {name!r}.")
        write_bytes(home / name, files[name])
    for path in set(home.glob("*.ckpt")) - {home / name for name in files}:
        path.unlink()


def last_line(error: Exception) -> str:
    """Return the last line of an error, which is that of its cause."""
    return str(error).strip().splitlines()[-1]
