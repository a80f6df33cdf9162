"""What a machine of a cluster does with a cell, without Ray: where it works, what it sends back, what it refuses."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from smoothiou import files
from smoothiou.study import cell_folder, ray_cell
from smoothiou.study.cells import claim
from smoothiou.study.ray_cell import Job, Outcome, run_job, scratch, why_unfit
from smoothiou.study.ray_facts import SAME, facts
from tests.study.conftest import result_of

CHILD = """
import json, os, pathlib, signal, sys, time
home, what, result = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print("threads", os.environ["OMP_NUM_THREADS"], "gpus", repr(os.environ.get("CUDA_VISIBLE_DEVICES")), os.getcwd())
print("begun", (home / "last.ckpt").read_text() if (home / "last.ckpt").is_file() else "no")
if what == "wait":
    def save(number, frame):
        (home / "last.ckpt").write_text(signal.Signals(number).name)
        sys.exit(130)
    signal.signal(signal.SIGTERM, save)
    (home / "ready").touch()
    time.sleep(60)
if what == "fail":
    sys.exit("smoothiou: no such luck")
(home / "result.json").write_text(result)
(home / "done").touch()
"""


@pytest.fixture(autouse=True)
def _own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def cell(plan_of) -> dict[str, Any]:
    return plan_of()["cells"][0]


@pytest.fixture
def job_of(cell, tmp_path, monkeypatch):
    """Give a function that makes a job whose training does `what` in place of a training."""

    def make(what: str = "finish", *, seen: bool = False, result: Any = None, **changes: Any) -> Job:
        text = files.json.dumps(result_of(cell) if result is None else result)

        def command(home: Path, cell: Any) -> list[str]:
            return [sys.executable, "-c", CHILD, str(cell_folder(home, cell)), what, text]

        monkeypatch.setattr(ray_cell, "train_command", command)
        study = tmp_path / "study"
        study.mkdir(exist_ok=True)
        (study / ".shared").write_text("token" if seen else "another")
        mark = (str(study / ".shared"), "token")
        expected = {key: value for key, value in facts((), mark, ".").items() if key in SAME}
        given = {"study": str(study), "mark": mark, "folder": str(tmp_path), "needed": (), "threads": 3, **changes}
        return Job(cell=cell, expected=expected, **given)

    return make


def scratches(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").glob("smoothiou-*/*"))


def test_a_shared_folder_is_worked_in_and_nothing_is_sent(job_of, cell, tmp_path):
    outcome = run_job(job_of(seen=True, environment={"CUDA_VISIBLE_DEVICES": ""}))
    assert (outcome.kind, outcome.message, outcome.files) == ("done", "", None)
    log = (cell_folder(tmp_path / "study", cell) / "log.txt").read_text()
    assert f"threads 3 gpus '' {tmp_path}" in log
    again = run_job(job_of("fail", seen=True))  # a retried task whose first attempt had ended well
    assert again.kind == "done"
    assert scratches(tmp_path) == []


def test_without_a_shared_folder_the_files_come_back_and_no_trace_is_left(job_of, tmp_path):
    outcome = run_job(job_of())
    assert outcome.kind == "done"
    assert outcome.files is not None
    assert set(outcome.files) == {"log.txt", "result.json", "done"}
    assert not (tmp_path / "study" / "cells").exists()
    assert scratches(tmp_path) == []
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_a_cell_that_was_begun_goes_on_from_what_is_sent_along(job_of):
    outcome = run_job(job_of(begun=lambda: {"last.ckpt": b"half"}))
    assert outcome.files is not None
    assert "begun half" in outcome.files["log.txt"].decode()


def test_a_failure_comes_back_in_words_with_the_machine_and_the_log(job_of):
    outcome = run_job(job_of("fail"))
    assert outcome.kind == "failed"
    assert outcome.message == f"{outcome.machine}: no such luck"
    assert outcome.files is not None
    assert outcome.files["error.txt"].startswith(b"no such luck\n")


def test_other_data_on_a_machine_is_said(job_of, cell):
    outcome = run_job(job_of(result={**result_of(cell), "hash": "000000000000"}))
    assert outcome.kind == "failed"
    assert "holds other data there than here" in outcome.message


def test_a_machine_that_does_not_fit_is_told_from_one_that_does(job_of, tmp_path):
    job = job_of()
    assert why_unfit(facts((str(tmp_path),), ("", ""), "."), job.expected) == ""
    outcome = run_job(job_of(needed=(str(tmp_path / "no-data"),)))
    assert outcome == Outcome(
        kind="failed",
        machine=outcome.machine,
        message=f"{outcome.machine}: {tmp_path}/no-data: no such file or folder there.",
    )
    here = facts((), ("", ""), ".")
    other = why_unfit({**here, "machine": "far", "python": "3.9.1", "source": "abc"}, here)
    assert (
        other == f"far: python 3.9.1 there, {here['python']} here; code of smoothiou abc there, {here['source']} here."
    )


def test_the_facts_need_nothing_of_the_package(tmp_path):
    # They are sent to machines without smoothiou.
    code = (
        "import runpy, sys; home = sys.argv[1]\n"
        "facts = runpy.run_path(home)['facts']\n"
        "print(facts(('/', '/no/such'), ('', ''), '.'), 'smoothiou' in sys.modules)"
    )
    path = Path(ray_cell.__file__).with_name("ray_facts.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "'smoothiou': 'not installed'" in done.stdout
    assert "'missing': ['/no/such']" in done.stdout
    assert done.stdout.endswith("False\n")


def test_an_earlier_attempt_that_is_still_ending_is_waited_for(job_of, cell, tmp_path):
    job = job_of(seen=True, patience=30.0)
    code = (
        "import sys, time; from smoothiou.study.cells import claim\n"
        "with claim(sys.argv[1], {'id': sys.argv[2]}):\n    print(flush=True); time.sleep(1.5)"
    )
    earlier = subprocess.Popen([sys.executable, "-c", code, job.study, cell["id"]], stdout=subprocess.PIPE)
    with earlier:
        assert earlier.stdout is not None
        earlier.stdout.readline()
        assert run_job(job_of(seen=True)).kind == "busy"  # a first attempt does not wait
        began = time.monotonic()
        assert run_job(job).kind == "done"
        assert time.monotonic() - began > 0.5


def test_a_training_ends_with_the_worker_that_started_it_and_saves(cell, tmp_path):
    # As a module, so that a process of its own can be killed.
    home = cell_folder(tmp_path, cell)
    code = (
        "import pathlib, sys; from smoothiou.study import ray_cell\n"
        "folder, home, child, cell = sys.argv[1:5]; import json; cell = json.loads(cell)\n"
        "ray_cell.train_command = lambda folder, cell: [sys.executable, '-c', child, home, 'wait', '']\n"
        "job = ray_cell.Job(cell=cell, study=folder, mark=('', ''), folder=folder, needed=(), expected={}, threads=1)\n"
        "ray_cell._run(job, pathlib.Path(folder), 'machine', bring=False)"
    )
    words = [str(tmp_path), str(home), CHILD, files.json.dumps(cell)]
    worker = subprocess.Popen([sys.executable, "-c", code, *words])
    _wait_for(home / "ready", worker)
    worker.kill()
    worker.wait()
    _wait_for(home / "last.ckpt")
    assert (home / "last.ckpt").read_text() == "SIGTERM"
    with claim(tmp_path, cell) as claimed:
        for _ in range(100):
            if claimed is not None:
                break
            time.sleep(0.05)
            with claim(tmp_path, cell) as claimed:
                pass
    assert claimed is not None


def test_a_training_whose_worker_has_ended_already_does_not_begin(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    wrapper = [sys.executable, "-I", "-S", ray_cell.with_parent.__file__, str(gone.pid), str(tmp_path)]
    assert subprocess.run([*wrapper, sys.executable, "-c", "print(1)"], capture_output=True).returncode == 130


def test_a_training_hears_an_interrupt_where_its_worker_does_not(tmp_path):
    # Ray starts workers with SIGINT blocked, and what a process starts inherits that.
    show = (
        "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT).__name__)"
    )
    code = (
        "import os, signal, subprocess, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,)); signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "wrapper = [sys.executable, sys.argv[1], str(os.getpid()), '/']\n"
        "subprocess.run([*wrapper, sys.executable, '-c', sys.argv[2]], check=True)"
    )
    wrapper = ray_cell.with_parent.__file__
    done = subprocess.run([sys.executable, "-c", code, wrapper, show], capture_output=True, text=True, check=True)
    assert done.stdout == "set() default_int_handler\n"


def test_what_killed_workers_left_is_swept_and_what_living_ones_have_is_not(tmp_path):
    with scratch("alive") as alive:
        (alive / "file").touch()
        dead = alive.with_name("dead-1-2")
        dead.mkdir()
        (dead / "file").touch()
        with scratch("other") as other:
            assert other.is_dir()
            assert (alive / "file").is_file()
            assert not dead.exists()
    assert scratches(tmp_path) == []


def test_a_folder_that_others_can_write_to_is_refused(job_of, tmp_path):
    planted = tmp_path / "tmp" / f"smoothiou-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    outcome = run_job(job_of())
    assert outcome.kind == "failed"
    assert "only this user can write to" in outcome.message


def test_an_interrupt_stops_the_training_and_brings_what_it_saved(job_of, tmp_path):
    import threading

    def send() -> None:
        deadline = time.monotonic() + 30
        while not list((tmp_path / "tmp").glob("smoothiou-*/*/cells/*/ready")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    outcome = run_job(job_of("wait"))
    sender.join()
    assert outcome.kind == "stopped"
    assert outcome.files is not None
    assert outcome.files["last.ckpt"] == b"SIGTERM"


def _wait_for(file: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert process is None or process.poll() is None, "ended early"
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.02)
