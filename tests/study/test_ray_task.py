"""What a machine of a cluster does with a cell, without Ray: where it works, what it sends back, what it refuses."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from smoothiou import files
from smoothiou.errors import DivergedError, InterruptedRun
from smoothiou.study import cell_folder, ray_task
from smoothiou.study.cells import lock_cell
from smoothiou.study.ray_task import Outcome, inspect_machine, run_task, software
from tests.study.conftest import result_of


@pytest.fixture
def cell(plan_of) -> dict[str, Any]:
    return plan_of()["cells"][0]


@pytest.fixture
def run(cell, tmp_path, monkeypatch):
    """Give a function that runs the cell as a task, with `train(cell, home)` in place of a training."""
    import torch

    (tmp_path / "tmp").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".shared").write_text("content")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: print("threads", threads, file=sys.stderr))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.chdir(tmp_path)

    def finish(cell: Any, home: Path) -> None:
        print("begun", (home / "last.ckpt").read_text() if (home / "last.ckpt").is_file() else "no", Path.cwd())
        files.write_json(home / "result.json", result_of(cell))
        files.write_text(home / "done", "")

    def task(train: Any = finish, *, shared: bool = False, begun: Any = None, expected: Any = None) -> Outcome:
        monkeypatch.setattr(ray_task, "train_cell", train)
        return run_task(
            cell, begun or {}, study=str(tmp_path / "study"), folder=str(tmp_path), paths=["/of/mine"],
            token=(str(tmp_path / "study" / ".shared"), "content" if shared else "another"),
            expected=software() if expected is None else expected, threads=3, gpu=False,
        )  # fmt: skip

    return task


def test_in_a_shared_folder_nothing_is_sent_back(run, cell, tmp_path):
    outcome = run(shared=True)
    assert (outcome.kind, outcome.message, outcome.files) == ("done", "", None)
    assert f"begun no {tmp_path}" in (cell_folder(tmp_path / "study", cell) / "log.txt").read_text()
    assert "/of/mine" in sys.path
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert run(lambda cell, home: pytest.fail("is done"), shared=True).kind == "done"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_shared_folder_the_files_are_sent_back_and_nothing_stays(run, tmp_path):
    outcome = run(begun={"last.ckpt": b"half"})
    assert outcome.kind == "done"
    assert set(outcome.files) == {"last.ckpt", "log.txt", "result.json", "done"}
    assert b"begun half" in outcome.files["log.txt"]
    assert not (tmp_path / "study" / "cells").exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_a_failure_names_the_machine_and_comes_with_its_traceback(run):
    def diverge(cell, home):
        raise DivergedError("step 3")

    outcome = run(diverge)
    assert outcome.kind == "failed"
    assert outcome.message.endswith(": DivergedError: step 3")
    assert b"Traceback" in outcome.files["error.txt"]


@pytest.mark.parametrize("stop", [InterruptedRun("stopped"), KeyboardInterrupt()])
def test_an_interrupt_brings_what_was_saved(run, stop):
    def train(cell, home):
        files.write_text(home / "last.ckpt", "half")
        raise stop

    outcome = run(train)
    assert (outcome.kind, outcome.files["last.ckpt"]) == ("stopped", b"half")


def test_other_software_is_refused_before_anything_is_done(run, tmp_path):
    expected = {**software(), "torch": "1.0"}
    outcome = run(lambda cell, home: pytest.fail("began"), expected=expected)
    assert outcome.kind == "failed"
    assert "expected 1.0" in outcome.message
    assert inspect_machine(("", ""), software()) == (False, "")
    assert inspect_machine((str(tmp_path / "study" / ".shared"), "content"), expected)[0]


def test_an_earlier_attempt_that_is_still_ending_is_waited_for(run, cell, tmp_path, monkeypatch):
    home = tmp_path / "study"

    def hold() -> None:
        with lock_cell(home, cell):
            locked.set()
            time.sleep(1.0)

    locked = threading.Event()
    earlier = threading.Thread(target=hold)
    earlier.start()
    assert locked.wait(10)
    began = time.monotonic()
    assert run(shared=True).kind == "done"
    assert time.monotonic() - began > 0.5
    earlier.join()
    with lock_cell(home, {"id": cell["id"]}):
        monkeypatch.setattr(ray_task, "LOCK_SECONDS", 0)
        (cell_folder(home, cell) / "done").unlink()
        assert run(shared=True).kind == "busy"
