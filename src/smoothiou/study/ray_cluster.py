"""The cells of a study as tasks of a Ray cluster. Ray places them, and tries them again where a machine is lost.

A cell is never trained twice at once: where machines share the study's folder, it is locked there; where they do
not, only what is sent back counts, once.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
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
    cells = [cell for cell in tally.cells if cell_state(folder, cell) != "done"]
    for cell in tally.cells:
        if cell not in cells:
            tally.add("skipped", cell)
    if not cells:
        return tally.counts
    token = (str(folder / TOKEN), secrets.token_hex(16)) if options.shared else ("", "")
    try:
        if options.shared:
            write_text(*token)
        with connect(options) as ray:
            launcher = _Launcher(ray, folder, token, options, tally, say)
            with catch_signals() as received:
                launcher.run(cells, received)
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


class _Launcher:
    """The cells that are on the cluster now."""

    def __init__(
        self,
        ray: Any,
        folder: Path,
        token: Token,
        options: RayOptions,
        tally: Tally,
        say: Callable[[str], Any],
    ) -> None:
        self.ray, self.folder, self.options, self.tally, self.say = ray, folder, options, tally, say
        expected = software()
        self.all_shared = check_machines(ray, options, token, expected, say)
        self.task = ray.remote(
            num_cpus=options.cpus, num_gpus=options.gpus, max_retries=options.retries, scheduling_strategy="SPREAD",
            max_calls=1,  # a process for each cell
        )(run_task)  # fmt: skip
        self.site = {
            "study": str(folder), "token": token, "expected": expected, "folder": os.getcwd(),
            "paths": [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path],
            "threads": options.cpus, "gpu": options.gpus > 0,
        }  # fmt: skip
        self.running: dict[Any, Cell] = {}

    def run(self, cells: list[Cell], received: list[signal.Signals]) -> None:
        """Give the cluster all cells, which it trains in this order as it has room, and take what comes back.

        The first signal interrupts all cells, which save their state; after the second they are not waited for.
        """
        for cell in cells:
            self.running[self.submit(cell)] = cell
        machines, interrupted = self.machines(), False
        while self.running and len(received) < 2:
            if received and not interrupted:
                interrupted = True
                for reference in self.running:
                    self.ray.cancel(reference, force=False)
            for reference in self.ray.wait(list(self.running), timeout=POLL_SECONDS)[0]:
                self.receive(reference, self.running.pop(reference))
            before, machines = machines, self.machines()
            if machines != before:
                self.say(f"Ray has {count(machines, 'machine')}, and had {before}; what is lost is tried again.")

    def machines(self) -> int:
        """Return how many machines the cluster has now."""
        return sum(node["Alive"] for node in self.ray.nodes())

    def submit(self, cell: Cell) -> Any:
        """Give a cell to the cluster, with its checkpoint where a machine may not see it."""
        home, checkpoint = cell_folder(self.folder, cell), dict
        if not self.all_shared and (home / "last.ckpt").is_file():
            checkpoint = functools.partial(self.ray.get, self.ray.put(read_files(home)))
        return self.task.options(name=cell["id"]).remote(cell, checkpoint, **self.site)

    def receive(self, reference: Any, cell: Cell) -> None:
        """Take the files of a cell that has ended, and note how."""
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(reference)
            if outcome.files and prepare(self.folder, cell):
                with lock_cell(self.folder, cell):
                    write_files(cell_folder(self.folder, cell), outcome.files)
        except LockedError as error:
            return self.tally.add("busy", cell, message=error.message)
        except errors.TaskCancelledError:
            return self.tally.add("stopped", cell, message="not begun")
        except errors.RayError as error:
            message = f"lost with its machine or worker, after {self.options.retries} retries ({type(error).__name__})"
            if isinstance(error, errors.RayTaskError):
                message = f"the worker failed: {last_line(error)}"
            outcome = Outcome("failed", message, 0.0, None)
        kind, message = outcome.kind, outcome.message
        if kind == "done" and cell_state(self.folder, cell) != "done":
            kind, message = "failed", f"done on the cluster, but its result is not in {self.folder}"
        if kind == "failed" and not read_error(self.folder, cell):
            write_error(self.folder, cell, message, "")
        return self.tally.add(kind, cell, seconds=outcome.seconds, message=message)


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
    answers, unfit = [], []
    for node in room:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        ask = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(inspect_machine)
        answers.append(ask.remote(token, expected))
    shared = 0
    for answer in answers:
        try:
            shares, reason = ray.get(answer, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:  # it lacks smoothiou, or is lost
            shares, reason = False, f"{last_line(error)}."
        shared += shares
        unfit += [reason] if reason else []
    if unfit:
        raise ConfigError(
            f"Cells cannot run on {len(unfit)} of {len(room)} machines: {' '.join(unfit[:4])}",
            hint="Install the same versions on all machines.",
        )
    where = "all machines see" if shared == len(room) else f"{shared} of them see"
    say(f"Ray: {count(len(room), 'machine')}, {count(sum(room.values()), 'cell')} at once; {where} the study's folder.")
    return shared == len(room)


def cells_at_once(resources: Mapping[str, float], options: RayOptions) -> int:
    """Return how many cells a machine with such resources runs at once."""
    cells = int(resources.get("CPU", 0) // options.cpus)
    return min(cells, int(resources.get("GPU", 0) // 1 * (1 // options.gpus))) if options.gpus else cells


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


def count(number: int, noun: str) -> str:
    """Return "1 cell" or "2 cells"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
