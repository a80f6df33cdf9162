"""Where there is no POSIX: simulated here, not tried on Windows or macOS."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smoothiou.detectors import build_detector, take_prepared
from smoothiou.files import atomic
from smoothiou.study import local


@pytest.mark.slow
def test_modules_import_and_a_run_with_a_spawned_loader_ends_without_what_only_posix_has(tmp_path):
    script = Path(__file__).with_name("without_posix.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "modules imported" in done.stdout
    assert "result.json" in done.stdout


def test_on_windows_unfinished_files_of_others_go_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "WINDOWS", True)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this would send Ctrl-C"))
    young, old, own = (tmp_path / f".a.{name}.part" for name in ("1.x", "2.x", f"{os.getpid()}.x"))
    for path in (young, old, own):
        path.touch()
    os.utime(old, (0, 0))
    atomic.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_a_cell_is_killed_also_where_there_are_no_process_groups(monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.delattr(os, "killpg")
    local._kill(process)
    assert process.wait(10) != 0


def test_what_prepares_images_reaches_a_spawned_loader():
    prepare = take_prepared(build_detector("nano", num_classes=2))
    assert prepare is not None
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 20.0]]), "labels": torch.tensor([1])}
    for ours, theirs in zip(prepare(image, target), pickle.loads(pickle.dumps(prepare))(image, target), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
