"""One cell on a machine of a Ray cluster: a function of plain data, for which Ray is not needed. No torch at import."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import smoothiou
from smoothiou.errors import InterruptedRun
from smoothiou.files import write_bytes
from smoothiou.study.cells import Cell, Kind, cell_folder, run_cells, train_cell

LOCK_SECONDS = 180
"""How long a cell waits for its lock: the process of an attempt whose machine was lost may still be ending."""

Files = Mapping[str, bytes]
Token = tuple[str, str]
"""A file in the study's folder and its content, by which a machine knows that it shares the folder; "" for none."""


class Outcome(NamedTuple):
    """How a cell ended on a machine; `files` are those of its folder, where the machine does not share the study's."""

    kind: Kind
    message: str
    seconds: float = 0.0
    files: Files | None = None


def software() -> dict[str, str]:
    """Return the versions that must be equal on all machines: else cells would be of different experiments."""
    folder, digest = Path(smoothiou.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):  # an editable install has one version and many states
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    versions = {name: metadata.version(name) for name in ("smoothiou", "torch", "torchvision")}
    return {"python": platform.python_version(), **versions, "code of smoothiou": digest.hexdigest()[:12]}


def inspect_machine(token: Token, expected: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether this machine shares the study's folder, and why it cannot train its cells ("" where it can)."""
    versions = software()
    differing = [
        f"{key} {versions[key]}, expected {value}" for key, value in expected.items() if versions[key] != value
    ]
    try:
        shared = bool(token[0]) and Path(token[0]).read_text() == token[1]
    except (OSError, ValueError):
        shared = False
    return shared, f"{platform.node()}: {'; '.join(differing)}." if differing else ""


def run_task(
    cell: Cell,
    checkpoint: Files,
    *,
    study: str,
    token: Token,
    expected: Mapping[str, str],
    folder: str,
    paths: Sequence[str],
    threads: int,
    gpu: bool,
) -> Outcome:
    """Train a cell to its end, or continue it, in this process; a cell that is done already is left as it is.

    Args:
        cell: its entry in the plan.
        checkpoint: the files of a cell that was begun, for a machine that does not share the study's folder.
        study: absolute path of the study's folder.
        token: of that folder.
        expected: `software` of the machine of the command.
        folder: in which the command was given; the cell runs there where it exists.
        paths: where modules are looked for first: a loss of one's own, for example.
        threads: of the cell.
        gpu: whether it may use the device that Ray has given it.
    """
    began, (shared, unfit) = time.monotonic(), inspect_machine(token, expected)
    if unfit:
        return Outcome("failed", unfit)
    with ExitStack() as stack:
        home = Path(study)
        if not shared:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="smoothiou-")))
            for name, content in checkpoint.items():
                write_bytes(cell_folder(home, cell) / name, content)
        try:
            _set_up_process(folder, paths, threads=threads, gpu=gpu)
            kind, message = _train(home, cell)
        except (InterruptedRun, KeyboardInterrupt):
            kind, message = "stopped", "stopped by a signal"
        if kind == "failed":
            message = f"{platform.node()}: {message}"
        files = None if shared else read_files(cell_folder(home, cell))
        return Outcome("done" if kind == "skipped" else kind, message, time.monotonic() - began, files)


def _set_up_process(folder: str, paths: Sequence[str], *, threads: int, gpu: bool) -> None:
    """Make the worker, which Ray ends after the task, like the process of the command."""
    if os.path.isdir(folder):
        os.chdir(folder)
    sys.path[:0] = paths
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported
    import torch

    torch.set_num_threads(threads)


def _train(study: Path, cell: Cell) -> tuple[Kind, str]:
    """Train a cell with its output in log.txt, and return how it ended."""

    def train(cell: Cell, home: Path) -> None:
        with (home / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            train_cell(cell, home)

    plan, events, until = {"seeds": [cell["seed"]], "cells": [cell]}, [], time.monotonic() + LOCK_SECONDS
    while True:
        run_cells(study, plan, train, on_event=events.append)
        if events[-1].kind != "busy" or time.monotonic() >= until:
            return events[-1].kind, events[-1].message
        time.sleep(1)


def read_files(home: Path) -> dict[str, bytes]:
    """Return the files of a cell, without locks and what is half written."""
    files = home.iterdir() if home.is_dir() else ()
    return {path.name: path.read_bytes() for path in files if path.is_file() and path.name[0] != "."}
