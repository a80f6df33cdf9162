"""Real processes, small ones: they finish, fail, are killed, and are stopped by a signal to the launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.study import cell_folder, cell_state, run_parallel
from smoothiou.study.cells import claim, read_error
from tests.study.conftest import result_of

# What a cell's command does: leave a result, fail in one of several ways, or wait for a signal and save.
CHILD = """
import os, pathlib, signal, sys, time
home, what = pathlib.Path(sys.argv[1]), sys.argv[2]
print("threads", os.environ["OMP_NUM_THREADS"], os.environ.get("EXTRA", "-"))
if what == "finish":
    (home / "running").touch()
    deadline = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < deadline and len(list(home.parent.glob("*/running"))) < 2:
        time.sleep(0.01)
    together = len(list(home.parent.glob("*/running")))
    print("together", together)
    (home / "result.json").write_text((home / "prepared.json").read_text())
    (home / "done").touch()
elif what == "fail":
    print("Traceback ...")
    print("DataError: a.xml: box 1 has no area.")
    sys.exit(3)
elif what == "own words":
    (home / "error.txt").write_text("DivergedError: step 3\\n\\nTraceback")
    sys.exit(1)
elif what == "message and hint":
    print("smoothiou: a.jpg: the image cannot be read.\\n  Replace the file.")
    sys.exit(3)
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "silent":
    sys.exit(0)
elif what == "stopped alone":
    sys.exit(130)
elif what == "wait":
    def save(number, frame):
        (home / "last.ckpt").write_text(signal.Signals(number).name)
        sys.exit(130)
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
    (home / "ready").touch()
    time.sleep(60)
elif what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (home / "ready").touch()
    time.sleep(60)
"""


def commands(folder: Path, what: dict[str, str] | str, *, patience: float = 0.0):
    """Give `command_for`: by cell id what its child does; all others finish."""

    def command_for(cell) -> list[str]:
        home = cell_folder(folder, cell)
        (home / "prepared.json").write_text(json.dumps(result_of(dict(cell))))
        do = what if isinstance(what, str) else what.get(cell["id"], "finish")
        return [sys.executable, "-c", CHILD, str(home), do, str(patience)]

    return command_for


def log_of(folder: Path, cell: dict) -> str:
    return (cell_folder(folder, cell) / "log.txt").read_text()


def test_all_cells_are_done_two_at_a_time_with_divided_cores(plan_of, tmp_path: Path):
    plan, events = plan_of(), []
    counts = run_parallel(
        tmp_path,
        plan,
        jobs=2,
        command_for=commands(tmp_path, "finish", patience=20),
        environment={"EXTRA": "given"},
        on_event=events.append,
    )
    assert counts == {"done": 4, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
    assert {e.cell["id"] for e in events[:2]} == {"huber-seed0", "smooth-iou-seed0"}  # a pair comes first
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    logs = [log_of(tmp_path, cell) for cell in plan["cells"]]
    assert all(f"threads {threads} given" in log for log in logs)
    assert all("together 2" in log for log in logs[:2])  # each of the pair waited until it saw the other


def test_what_is_done_is_skipped_and_logs_are_kept(plan_of, finish, tmp_path: Path):
    plan = plan_of()
    finish(tmp_path, plan["cells"][0])
    (finish(tmp_path, plan["cells"][1]) / "done").unlink()
    (cell_folder(tmp_path, plan["cells"][1]) / "log.txt").write_text("an earlier try\n")
    counts = run_parallel(tmp_path, plan, jobs=3, command_for=commands(tmp_path, "finish"))
    assert (counts["done"], counts["skipped"]) == (3, 1)
    assert log_of(tmp_path, plan["cells"][1]).startswith("an earlier try\nthreads")
    assert run_parallel(tmp_path, plan, jobs=3, command_for=lambda cell: pytest.fail("was done"))["skipped"] == 4


def test_every_kind_of_failure_is_recorded_and_the_others_go_on(plan_of, tmp_path: Path):
    plan, events = plan_of(("huber", "iou", "giou", "smooth-iou"), (0, 1)), []
    what = {
        "huber-seed0": "fail",
        "iou-seed0": "own words",
        "giou-seed0": "killed",
        "smooth-iou-seed0": "silent",
        "huber-seed1": "stopped alone",
        "iou-seed1": "message and hint",
    }
    counts = run_parallel(tmp_path, plan, jobs=2, command_for=commands(tmp_path, what), on_event=events.append)
    assert counts == {"done": 2, "skipped": 0, "failed": 5, "busy": 0, "stopped": 1}
    errors = {cell["id"]: read_error(tmp_path, cell) for cell in plan["cells"]}
    assert errors["huber-seed0"] == "DataError: a.xml: box 1 has no area."
    assert errors["iou-seed0"] == "DivergedError: step 3"
    assert errors["giou-seed0"] == "killed by SIGKILL (out of memory?)"
    assert errors["smooth-iou-seed0"].startswith("ended without a result")
    assert errors["huber-seed1"] == ""
    assert errors["iou-seed1"] == "a.jpg: the image cannot be read."
    assert "Traceback ..." in (tmp_path / "cells" / "huber-seed0" / "error.txt").read_text()
    assert {e.cell["id"]: e.message for e in events if e.kind == "failed"} == {k: v for k, v in errors.items() if v}

    again = run_parallel(tmp_path, plan, jobs=2, command_for=commands(tmp_path, "finish"))
    assert again == {"done": 6, "skipped": 2, "failed": 0, "busy": 0, "stopped": 0}


def test_a_command_that_cannot_be_started_is_a_failed_cell(plan_of, tmp_path: Path):
    counts = run_parallel(tmp_path, plan_of(), jobs=2, command_for=lambda cell: ["/no/such/program"])
    assert counts["failed"] == 4
    assert (
        read_error(tmp_path, plan_of()["cells"][0]) == "/no/such/program: cannot be started: No such file or directory"
    )


def test_a_cell_that_another_process_has_is_left_to_it(plan_of, tmp_path: Path):
    plan = plan_of()
    with claim(tmp_path, plan["cells"][3]):
        counts = run_parallel(tmp_path, plan, jobs=1, command_for=commands(tmp_path, "finish"))
    assert (counts["done"], counts["busy"]) == (3, 1)


def test_an_error_of_our_own_leaves_no_process_behind(plan_of, tmp_path: Path):
    plan = plan_of()

    def command_for(cell) -> list[str]:
        if cell["id"] == "smooth-iou-seed0":
            _wait_for([tmp_path / "cells" / "huber-seed0" / "ready"])
            raise RuntimeError("the caller's fault")
        return commands(tmp_path, "wait")(cell)

    with pytest.raises(RuntimeError, match="the caller's fault"):
        run_parallel(tmp_path, plan, jobs=2, command_for=command_for)
    assert (tmp_path / "cells" / "huber-seed0" / "last.ckpt").read_text() == "SIGTERM"
    with claim(tmp_path, plan["cells"][0]) as claimed:
        assert claimed is not None


def test_jobs_below_one_are_refused(plan_of, tmp_path: Path):
    with pytest.raises(ConfigError, match="--jobs: expected 1 or more, got 0"):
        run_parallel(tmp_path, plan_of(), jobs=0, command_for=lambda cell: [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_children_who_save_and_the_same_call_continues(plan_of, tmp_path: Path, number):
    plan, events = plan_of(), []
    before = signal.getsignal(number)
    homes = [cell_folder(tmp_path, cell) for cell in plan["cells"][:2]]
    sender = threading.Thread(target=_send_when_ready, args=(homes, [number]))
    sender.start()
    with pytest.raises(InterruptedRun, match=f"Stopped by {signal.Signals(number).name}"):
        run_parallel(tmp_path, plan, jobs=2, command_for=commands(tmp_path, "wait"), on_event=events.append)
    sender.join()
    assert [home.joinpath("last.ckpt").read_text() for home in homes] == [signal.Signals(number).name] * 2
    assert [cell_state(tmp_path, cell) for cell in plan["cells"]] == ["partial", "partial", "new", "new"]
    assert sorted(e.kind for e in events) == ["start", "start", "stopped", "stopped"]
    assert signal.getsignal(number) is before
    assert run_parallel(tmp_path, plan, jobs=2, command_for=commands(tmp_path, "finish"))["done"] == 4


def test_a_second_signal_kills_a_child_that_does_not_listen(plan_of, tmp_path: Path):
    plan = plan_of(("huber",), (0,))
    home = cell_folder(tmp_path, plan["cells"][0])
    sender = threading.Thread(target=_send_when_ready, args=([home], [signal.SIGTERM, signal.SIGTERM]))
    sender.start()
    started = time.monotonic()
    with pytest.raises(InterruptedRun):
        run_parallel(tmp_path, plan, jobs=1, command_for=commands(tmp_path, "stubborn"))
    sender.join()
    assert time.monotonic() - started < 30
    assert cell_state(tmp_path, plan["cells"][0]) == "new"


def test_a_killed_launcher_does_not_lose_its_child_to_a_second_one(plan_of, tmp_path: Path):
    # The child keeps the claim: the restarted study leaves its cell alone instead of training it twice.
    plan = plan_of(("huber",), (0,))
    home = cell_folder(tmp_path, plan["cells"][0])
    code = (
        "import json, sys; from smoothiou.study import run_parallel;"
        "plan, folder, command = json.loads(sys.argv[1]);"
        "run_parallel(folder, plan, jobs=1, command_for=lambda cell: command)"
    )
    command = [sys.executable, "-c", CHILD, str(home), "wait"]
    arguments = json.dumps([plan, str(tmp_path), command])
    launcher = subprocess.Popen([sys.executable, "-c", code, arguments])
    _wait_for([home / "ready"])
    launcher.kill()
    launcher.wait()
    with claim(tmp_path, plan["cells"][0]) as claimed:
        assert claimed is None
    children = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and str(home).encode() in _command_line(entry)
        and b"run_parallel" not in _command_line(entry)
    ]
    assert len(children) == 1
    os.kill(children[0], signal.SIGTERM)
    _wait_for([home / "last.ckpt"])


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def _send_when_ready(homes: list[Path], numbers: list[int]) -> None:
    _wait_for([home / "ready" for home in homes])
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.3)


def _wait_for(files: list[Path]) -> None:
    deadline = time.monotonic() + 30
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline, f"{files} did not appear"
        time.sleep(0.02)
