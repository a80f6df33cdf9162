"""A lock ends with its holder, however it ends, and says who that is."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smoothiou.errors import ConfigError
from smoothiou.files import locks as claims


def start(code: str, *words: object, given: int | None = None) -> subprocess.Popen[str]:
    """Start Python code, and return when it has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **({} if given is None else {claims.INHERITED: str(given)})},
        pass_fds=[] if given is None else [given],
    )
    assert process.stdout is not None
    process.first = process.stdout.readline().strip()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):  # not to its end: a helper that lives on has it open, too
        assert pipe is not None
        pipe.close()


HOLD = "import sys\nfrom smoothiou.files.locks import hold\nwith hold(sys.argv[1]) as held:\n"


def test_a_lock_says_who_holds_it_and_ends_with_its_holder(tmp_path):
    path = tmp_path / "new" / ".lock"
    other = start(HOLD + "    print(held is not None, flush=True); sys.stdin.read()", path)
    assert other.first == "True"
    with claims.hold(path) as held:
        assert held is None
    assert claims.holder(path) == f"process {other.pid} on {platform.node()}"
    end(other)  # by SIGKILL: what it wrote is still there
    assert path.read_text().startswith(f"{other.pid} ")
    with claims.hold(path) as held:
        assert held is not None
        assert claims.holder(path) == f"process {os.getpid()} on {platform.node()}"


@pytest.mark.parametrize("text", [None, "", "half"])
def test_a_lock_that_does_not_say_is_another_process(tmp_path, text):
    if text is not None:
        (tmp_path / ".lock").write_text(text)
    assert claims.holder(tmp_path / ".lock") == "another process"


FORK = """
import os, sys, time
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize("given", [False, True], ids=["its-own", "given-by-its-parent"])
def test_a_forked_helper_that_outlives_its_process_does_not_hold_the_lock(tmp_path, given):
    path = tmp_path / ".lock"
    if given:  # as the launcher of a study does
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        code = "import os, sys; import smoothiou.files.locks; assert 'SMOOTHIOU_CLAIM' not in os.environ" + FORK
        process = start(code, given=descriptor)
        os.close(descriptor)
    else:
        lines = "\n".join("    " + line for line in FORK.strip().splitlines())
        process = start(HOLD + lines, path)
    with claims.hold(path) as held:
        assert held is None, "it is held as long as its holder lives"
    helper = int(process.first)
    try:
        end(process)
        with claims.hold(path) as held:
            assert held is not None
        assert Path(f"/proc/{helper}").exists() or not Path("/proc").exists()
    finally:
        os.kill(helper, signal.SIGKILL)


def test_a_lock_file_that_its_last_holder_deletes_just_then_is_no_lock(tmp_path, monkeypatch):
    path, flock, calls = tmp_path / ".lock", fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with claims.hold(path) as first, claims.hold(path) as second:
        assert first is not None
        assert second is None, "both have the file that has the name"
    assert len(calls) == 3


def test_a_claimed_folder_is_swept_of_what_killed_processes_left_and_of_nothing_else(tmp_path):
    living = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".last.ckpt.{dead.pid}.ab_1.part", f".last.ckpt.{os.getpid()}.xy.kept.part"]
    kept = [f".last.ckpt.{living.pid}.cd.part", ".mine.part", "notes.part", "last.ckpt"]
    for name in (*names, *kept):
        (tmp_path / name).write_text("")
    with claims.claim_folder(tmp_path, doing="is here"):
        assert sorted(os.listdir(tmp_path)) == sorted([*kept, ".lock"])
        with pytest.raises(ConfigError, match=rf"another process is here \(process {os.getpid()} on ") as error:
            claims.claim_folder(tmp_path, doing="is here").__enter__()
        assert "--out" in error.value.hint
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    living.communicate()
