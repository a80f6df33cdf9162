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

from smoothiou.engine.config import build_config
from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.study import cell_folder, cell_state, run_parallel, train_command
from smoothiou.study.cells import lock_cell, read_error
from tests.study.conftest import result_of

# What a cell's command does: leave a result, fail in one of several ways, or wait for a signal and save.
CHILD = """
import os, pathlib, signal, sys, time
home, what = pathlib.Path(sys.argv[1]), sys.argv[2]
print("threads", os.environ["OMP_NUM_THREADS"])
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
    from smoothiou.files import lock_folder
    with lock_folder(home):  # as a training does
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
        on_event=events.append,
    )
    assert counts == {"done": 4, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
    assert {e.cell["id"] for e in events[:2]} == {"huber-seed0", "smooth-iou-seed0"}  # a pair comes first
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    logs = [log_of(tmp_path, cell) for cell in plan["cells"]]
    assert all(f"threads {threads}\n" in log for log in logs)
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
    with lock_cell(tmp_path, plan["cells"][3]):
        counts = run_parallel(tmp_path, plan, jobs=1, command_for=commands(tmp_path, "finish"))
    assert (counts["done"], counts["busy"]) == (3, 1)


def test_an_error_of_our_own_leaves_no_process_behind(plan_of, tmp_path: Path):
    plan = plan_of()

    def command_for(cell) -> list[str]:
        if cell["id"] == "smooth-iou-seed0":
            _wait_for([tmp_path / "cells" / "huber-seed0" / "ready"])
            raise RuntimeError("the caller's fault")
        return commands(tmp_path, "wait")(cell)

    with pytest.raises(RuntimeError, match="fault"):
        run_parallel(tmp_path, plan, jobs=2, command_for=command_for)
    assert (tmp_path / "cells" / "huber-seed0" / "last.ckpt").read_text() == "SIGTERM"
    with lock_cell(tmp_path, plan["cells"][0]):
        pass


def test_jobs_below_one_are_refused(plan_of, tmp_path: Path):
    with pytest.raises(ConfigError, match="--jobs"):
        run_parallel(tmp_path, plan_of(), jobs=0, command_for=lambda cell: [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_children_who_save_and_the_same_call_continues(plan_of, tmp_path: Path, number):
    plan, events = plan_of(), []
    before = signal.getsignal(number)
    homes = [cell_folder(tmp_path, cell) for cell in plan["cells"][:2]]
    sender = threading.Thread(target=_send_when_ready, args=(homes, [number]))
    sender.start()
    with pytest.raises(InterruptedRun, match=signal.Signals(number).name):
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
    # The training holds the lock of its folder: the second launcher leaves the cell alone instead of training it twice.
    plan = plan_of(("huber",), (0,))
    home = cell_folder(tmp_path, plan["cells"][0])
    code = (
        "import json, sys; from smoothiou.study import run_parallel;"
        "plan, folder, command = json.loads(sys.argv[1]);"
        "run_parallel(folder, plan, jobs=1, command_for=lambda cell: command)"
    )
    command = [sys.executable, "-c", CHILD, str(home), "wait"]
    launcher = subprocess.Popen([sys.executable, "-c", code, json.dumps([plan, str(tmp_path), command])])
    _wait_for([home / "ready"])
    launcher.kill()
    launcher.wait()
    events = []
    assert run_parallel(tmp_path, plan, jobs=1, on_event=events.append)["busy"] == 1
    training = int((home / ".lock").read_text().split()[0])
    assert str(training) in events[0].message
    os.kill(training, signal.SIGTERM)
    _wait_for([home / "last.ckpt"])


def test_a_training_that_finds_its_folder_locked_leaves_the_cell_to_the_other(plan_of, tmp_path: Path):
    # An earlier launcher was killed before its child, which was still starting, had locked the folder.
    plan = plan_of(("huber",), (0,))
    home = cell_folder(tmp_path, plan["cells"][0])
    code = (
        "import sys; from smoothiou.files import lock_folder\nwith lock_folder(sys.argv[1]): print(flush=True); input()"
    )
    others = []

    def command_for(cell) -> list[str]:
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        others.append(other)
        other.stdout.readline()
        return [sys.executable, "-c", "import sys; sys.exit(2)"]

    try:
        assert run_parallel(tmp_path, plan, jobs=1, command_for=command_for)["busy"] == 1
        assert read_error(tmp_path, plan["cells"][0]) == ""
    finally:
        others[0].kill()
        others[0].communicate()


def test_the_recipe_of_a_cell_holds_its_settings_and_its_share_of_the_cache(plan_of, tmp_path: Path):
    cell = plan_of(train__cache_mb=900)["cells"][1]
    words = train_command(tmp_path, cell, jobs=3)
    config = build_config(words[words.index("--recipe") + 1], {})
    assert config.flat() == {**cell["settings"], "train.cache_mb": 300}
    assert words[words.index("--train.feature_folder") + 1] == str(tmp_path / "features")


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
