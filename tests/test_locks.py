"""A lock ends with its holder, however it ends, and says who that is."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from smoothiou.errors import ConfigError, SmoothIoUError
from smoothiou.files import LOCK, LockedError, holder, lock_folder

LOCKED = "import os, sys, time\nfrom smoothiou.files import lock_folder\nwith lock_folder(sys.argv[1]):\n"
WAIT = "    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
FORK = "    if os.fork() == 0:\n        print(os.getpid(), flush=True)\n    time.sleep(60)\n"


def start(code: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Start Python code, and return it with the process id that it prints."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    folder = tmp_path / "new"
    other, number = start(LOCKED + WAIT, folder)
    with pytest.raises(LockedError, match=f"{number} .*{platform.node()}") as caught, lock_folder(folder):
        pass
    assert "--out" in caught.value.hint
    kill(other)  # by SIGKILL: what it wrote is still there
    assert (folder / LOCK).read_text().startswith(f"{number} ")
    with lock_folder(folder):
        assert holder(folder / LOCK) == f"process {os.getpid()} on {platform.node()}"
    assert not (folder / LOCK).exists()


@pytest.mark.parametrize("text", [None, "", "half"])
def test_a_lock_without_a_name_is_another_process(tmp_path, text):
    if text is not None:
        (tmp_path / LOCK).write_text(text)
    assert holder(tmp_path / LOCK) == "another process"


def test_a_forked_helper_that_outlives_the_holder_does_not_hold_the_lock(tmp_path):
    process, helper = start(LOCKED + FORK, tmp_path)
    try:
        with pytest.raises(LockedError), lock_folder(tmp_path):
            pass
        kill(process)
        with lock_folder(tmp_path):
            os.kill(helper, 0)  # it lives
    finally:
        os.kill(helper, signal.SIGKILL)


def test_one_process_locks_a_folder_once(tmp_path):
    with lock_folder(tmp_path):
        for _ in range(2):
            with pytest.raises(LockedError), lock_folder(tmp_path):
                pass
    with lock_folder(tmp_path):
        pass


def test_a_file_system_without_locks_is_worked_on_all_the_same(tmp_path, monkeypatch):
    def refuse(self: FileLock) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with lock_folder(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert (tmp_path / "new" / "file").exists()


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"), lock_folder(tmp_path / "file"):
        pass
    with pytest.raises(SmoothIoUError, match="cannot be written"), lock_folder(tmp_path / "file" / "below"):
        pass


def test_only_what_killed_processes_left_is_removed(tmp_path):
    living = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [f".last.ckpt.{dead.pid}.ab_1.part", f".last.ckpt.{os.getpid()}.xy.kept.part"]
    kept = [f".last.ckpt.{living.pid}.cd.part", ".mine.part", "notes.part", "last.ckpt"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    with lock_folder(tmp_path):
        assert sorted(os.listdir(tmp_path)) == sorted([*kept, LOCK])
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    living.communicate()


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path):
    with lock_folder(tmp_path / "new"):
        pass
    assert list(tmp_path.iterdir()) == []
