"""The cells of a study as tasks of a Ray cluster, whose machines may be lost.

A task supervises one cell's process, and is tried again here and not by Ray, so that it can be told, counted, and
given what the cell had saved. A cell is never run twice at once: where machines share the study's folder, the cell's
claim is a lock in it; where they do not, only what comes back here counts, once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.files import sweep, write_bytes, write_text
from smoothiou.study.cells import (
    Cell,
    CellEvent,
    cell_folder,
    cell_state,
    claim,
    claimed_by,
    ignore_event,
    in_order,
    prepare,
    read_error,
    write_error,
)
from smoothiou.study.launch import collect_signals
from smoothiou.study.ray_cell import Files, Job, Outcome, run_job
from smoothiou.study.ray_cluster import RayOptions, connected, look
from smoothiou.study.ray_facts import SAME

POLL_SECONDS = 0.5
BEAT_SECONDS = 60
PATIENCE_SECONDS = 180
FORCED_SECONDS = 10
MARK = ".shared"


def run_on_ray(
    folder: str | Path,
    plan: Mapping[str, Any],
    options: RayOptions,
    *,
    on_event: Callable[[CellEvent], object] = ignore_event,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, int]:
    """Run the cells of a study on a Ray cluster; else as `run_cells`.

    A cell whose machine is lost is tried again, up to `options.retries` times, and goes on from its last
    checkpoint where the study's folder is shared. SIGINT and SIGTERM are passed on to all cells, which save
    their state; a second signal does not wait for them.

    Args:
        folder: of the study.
        plan: from `smoothiou.study.plan`.
        options: which cluster, and what a cell gets.
        on_event: is told what happens to cells.
        say: is told what happens to the cluster.

    Returns:
        How many cells were "done" now, "skipped" as done before, "failed", or "busy" in another process.

    Raises:
        ConfigError: there is no Ray or no such cluster, or its machines cannot run the cells (see `look`).
        InterruptedRun: SIGINT or SIGTERM came.
    """
    folder = Path(folder).absolute()
    _check_device(plan, options)
    launcher = _Launcher(folder, plan, options, on_event, say)
    if not launcher.waiting:
        return launcher.counts
    mark = (str(folder / MARK), secrets.token_hex(16)) if options.shared else ("", "")
    if options.shared:
        write_text(*mark)
    try:
        with connected(options) as ray:
            launcher.meet(ray, mark)
            with collect_signals() as received:
                launcher.work(received)
    finally:
        (folder / MARK).unlink(missing_ok=True)
    if received:
        raise InterruptedRun("Stopped by a signal.", hint="State is saved: the same command again continues.")
    return launcher.counts


def _check_device(plan: Mapping[str, Any], options: RayOptions) -> None:
    device = plan["settings"]["train.device"]
    if device.startswith("cuda:"):
        raise ConfigError(f"train.device: {device}: Ray chooses the device.", hint="Use cuda, with --gpus-per-cell 1.")
    if device == "cuda" and not options.gpus:
        raise ConfigError("train.device: cuda was asked for, but a cell gets no GPU.", hint="Give --gpus-per-cell 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Try:
    number: int
    cell: Cell
    attempt: int


class _Launcher:
    """The cells that are on the cluster now, and the counts so far."""

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        options: RayOptions,
        on_event: Callable[[CellEvent], object],
        say: Callable[[str], object],
    ) -> None:
        self.folder, self.options, self.on_event, self.say = folder, options, on_event, say
        self.counts = {"done": 0, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
        cells = in_order(plan)
        self.total = len(cells)
        self.running: dict[Any, _Try] = {}
        self.waiting: list[_Try] = []
        for number, cell in enumerate(cells, 1):
            if cell_state(folder, cell) == "done":
                self.tell("skipped", number, cell)
            else:
                self.waiting.append(_Try(number=number, cell=_absolute(cell), attempt=0))

    def meet(self, ray: Any, mark: tuple[str, str]) -> None:
        """Look at the cluster, and note what all cells are given."""
        self.ray = ray
        needed = tuple(dict.fromkeys(path for one in self.waiting for path in _needed(one.cell)))
        here, there = look(ray, self.options, needed=needed, mark=mark, folder=os.getcwd())
        shared = sum(facts["shared"] for facts in there)
        self.apart = shared < len(there)
        seen = "all machines see the study's folder"
        if self.apart:
            who = f"the results of the other {len(there) - shared}" if shared else "results"
            seen = f"{shared or 'none'} of them see the study's folder, {who} are brought back"
        self.say(
            f"Ray at {ray.get_runtime_context().gcs_address}: {_count(len(there), 'machine')}, "
            f"{_count(sum(facts['cells'] for facts in there), 'cell')} at once; {seen}."
        )
        expected = {key: here[key] for key in SAME}
        environment = {"PYTHONPATH": _python_path()} if os.environ.get("PYTHONPATH") else {}
        if not self.options.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # what Ray has not given is not used
        self.job = functools.partial(
            Job, study=str(self.folder), mark=mark, folder=os.getcwd(), needed=needed, expected=expected,
            threads=self.options.cpus, environment=environment,
        )  # fmt: skip
        self.task = ray.remote(run_job)

    def submit(self, one: _Try) -> None:
        """Give a cell to the cluster, with what it had saved where that lies here."""
        job = self.job(cell=one.cell, patience=PATIENCE_SECONDS if one.attempt else 0.0)
        if self.apart and (begun := _begun(self.folder, one.cell)):  # read by a machine that does not see them
            job = dataclasses.replace(job, begun=functools.partial(self.ray.get, self.ray.put(begun)))
        needs = {"num_cpus": self.options.cpus, "num_gpus": self.options.gpus, "max_retries": 0}
        self.running[self.task.options(name=one.cell["id"], **needs).remote(job)] = one

    def work(self, received: list[int]) -> None:
        """Give the cluster all cells, which it runs in this order as it has room, and take what comes back.

        Ends when all cells are through, or a signal came and all have ended.
        """
        for one in self.waiting:
            self.submit(one)
        asked, until, beat = 0, float("inf"), time.monotonic()
        while self.running and time.monotonic() < until:
            if asked < len(received):
                asked = len(received)
                force = asked > 1
                for reference in self.running:
                    self.ray.cancel(reference, force=force)
                if force:
                    until = min(until, time.monotonic() + FORCED_SECONDS)
            ended, _ = self.ray.wait(list(self.running), timeout=POLL_SECONDS)
            for reference in ended:
                self.receive(reference, stopping=bool(received))
            if time.monotonic() - beat >= BEAT_SECONDS:
                beat = time.monotonic()
                self.say(self.state())

    def state(self) -> str:
        """Return how the cluster is used, in words: none of its machines may be left."""
        free, there = self.ray.available_resources().get("CPU", 0), self.ray.cluster_resources().get("CPU", 0)
        machines = sum(node["Alive"] for node in self.ray.nodes())
        return (
            f"Not done: {_count(len(self.running), 'cell')}; Ray has {_count(machines, 'machine')}, "
            f"{there - free:g} of {there:g} CPUs in use."
        )

    def receive(self, reference: Any, *, stopping: bool) -> None:
        """Record how a cell has ended, or try it again where its machine is lost."""
        one = self.running.pop(reference)
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(reference)
        except errors.TaskCancelledError:
            return self.tell("stopped", one.number, one.cell, message="not begun")
        except errors.RayTaskError as error:
            message = str(error).strip().splitlines()[-1]
            return self.fail(one, f"the worker failed: {message}", details=str(error))
        except errors.RayError as error:
            return self.again(one, _lost(error), stopping=stopping)
        if outcome.kind == "stopped" and not stopping:  # its machine is being shut down
            self.bring(one, outcome)
            return self.again(one, f"{outcome.machine} stopped it", stopping=stopping)
        return self.settle(one, outcome)

    def settle(self, one: _Try, outcome: Outcome) -> None:
        """Take over the files of a cell that has ended, and tell."""
        busy = self.bring(one, outcome)
        if busy:
            return self.tell("busy", one.number, one.cell, message=busy)
        if outcome.kind == "failed":
            return self.fail(one, outcome.message, seconds=outcome.seconds)
        if outcome.kind == "done" and cell_state(self.folder, one.cell) != "done":
            return self.fail(one, f"{outcome.machine} says that it is done, but its result is not in {self.folder}")
        return self.tell(outcome.kind, one.number, one.cell, seconds=outcome.seconds, message=outcome.message)

    def bring(self, one: _Try, outcome: Outcome) -> str:
        """Write the files that came back; returns who has the cell, where another process has it here."""
        if not outcome.files:
            return ""
        with claim(self.folder, one.cell) as claimed:
            if cell_state(self.folder, one.cell) == "done":
                return ""
            if claimed is None:
                return f"{claimed_by(self.folder, one.cell)} runs it"
            prepare(self.folder, one.cell)
            _write_files(cell_folder(self.folder, one.cell), outcome.files)
        return ""

    def again(self, one: _Try, reason: str, *, stopping: bool) -> None:
        """Try a cell again, unless it has been lost too often or the command is ending."""
        if stopping:
            return self.tell("stopped", one.number, one.cell, message=reason)
        if one.attempt >= self.options.retries:
            return self.fail(one, f"{reason}, for the {one.attempt + 1}. time (--retries {self.options.retries})")
        self.tell("retried", one.number, one.cell, message=f"{reason} ({one.attempt + 1} of {self.options.retries})")
        return self.submit(dataclasses.replace(one, attempt=one.attempt + 1))

    def fail(self, one: _Try, message: str, *, details: str = "", seconds: float = 0.0) -> None:
        """Note why a cell failed, in error.txt, and tell."""
        if not read_error(self.folder, one.cell):
            write_error(self.folder, one.cell, message, details)
        self.tell("failed", one.number, one.cell, seconds=seconds, message=message)

    def tell(self, kind: Any, number: int, cell: Cell, **facts: Any) -> None:
        """Count and pass on what happened."""
        if kind in self.counts:
            self.counts[kind] += 1
        self.on_event(CellEvent(kind=kind, cell=cell, number=number, total=self.total, **facts))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _lost(error: Exception) -> str:
    """Return in few words why Ray lost a task."""
    words = {
        "NodeDiedError": "its machine is lost",
        "LocalRayletDiedError": "its machine is lost",
        "WorkerCrashedError": "its worker was killed",
        "OutOfMemoryError": "its machine ran out of memory",
        "ObjectLostError": "its result was lost with its machine",
        "OwnerDiedError": "its result was lost with its machine",
        "ObjectFetchTimedOutError": "its result could not be fetched",
        "RuntimeEnvSetupError": "its worker could not be set up",
    }
    name = type(error).__name__
    return words.get(name, f"it was lost ({name})")


def _absolute(cell: Cell) -> Cell:
    """Return a cell whose data is found from any folder; where it lies makes no other cell of it."""
    pieces = [str(Path(piece).expanduser().absolute()) if _lies_here(piece) else piece for piece in _pieces(cell)]
    return {**cell, "settings": {**cell["settings"], "data.path": "+".join(pieces)}}


def _pieces(cell: Cell) -> list[str]:
    path = cell["settings"]["data.path"]
    return [path] if _lies_here(path) else path.split("+")


def _needed(cell: Cell) -> list[str]:
    """Return the files and folders that a cell reads."""
    weights = cell["settings"].get("model.weights", "none")
    checkpoint = weights.removeprefix("tf:")
    files = [checkpoint, f"{checkpoint}.index"] if weights.startswith("tf:") else [weights]
    return [path for path in [*_pieces(cell), *files] if _lies_here(path)]


def _lies_here(path: str) -> bool:
    return path not in ("", "none", "shapes") and Path(path).expanduser().exists()


def _python_path() -> str:
    return os.pathsep.join(os.path.abspath(path) for path in os.environ["PYTHONPATH"].split(os.pathsep) if path)


def _begun(folder: Path, cell: Cell) -> Files:
    """Return the files of a cell that has been begun, nothing where there is nothing to go on from."""
    if cell_state(folder, cell) not in ("partial", "failed"):
        return {}
    home = cell_folder(folder, cell)
    if not (home / "last.ckpt").is_file():
        return {}
    return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file() and path.name[0] != "."}


def _write_files(home: Path, files: Files) -> None:
    """Write what came back: `done` last, and no checkpoint stays that is not of this attempt."""
    sweep(home)
    for name in sorted(files, key=lambda name: name == "done"):
        if Path(name).name != name or name.startswith("."):
            raise ConfigError(f"{home}: a worker sent a file of the name {name!r}.")
        write_bytes(home / name, files[name])
    for path in home.glob("*.ckpt"):
        if path.name not in files:
            path.unlink()
