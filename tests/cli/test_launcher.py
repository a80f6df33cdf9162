"""The options of `compare --launcher ray`, and what is printed while cells run; no Ray is needed."""

from __future__ import annotations

import sys
import time

import pytest

from smoothiou.api.cell_progress import StudyProgress
from smoothiou.cli.launcher import ray_options
from smoothiou.errors import ConfigError
from smoothiou.study import CellEvent, RayOptions

DEFAULT = {"jobs": 1, "address": None, "cpus": 1, "gpus": 0.0, "retries": 3, "shared": True}


def test_nothing_of_ray_is_needed_for_this_machine():
    assert ray_options("local", **DEFAULT) is None
    with pytest.raises(ConfigError, match="Ray"):
        ray_options("local", **{**DEFAULT, "address": "head:6379"})


def test_options_for_a_cluster():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'smoothiou[ray]'")
    given = {**DEFAULT, "cpus": 4, "gpus": 0.5, "shared": False}
    assert ray_options("ray", **given) == RayOptions(cpus=4, gpus=0.5, shared=False)
    with pytest.raises(ConfigError, match="--jobs"):
        ray_options("ray", **{**DEFAULT, "jobs": 2})


def test_without_ray_the_hint_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as caught:
        ray_options("ray", **DEFAULT)
    assert caught.value.hint == "pip install 'smoothiou[ray]'"


def test_the_command_refuses_before_it_writes(smoothiou, tmp_path):
    result = smoothiou("compare", "shapes", "--gpus-per-cell", "1", "--out", "STUDY")
    assert result.returncode == 2
    assert "Give --launcher ray with them" in result.stderr
    assert not (tmp_path / "STUDY").exists()


def test_the_remaining_time_is_shown(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines: list[str] = []
    show = StudyProgress(lines.append, starts=False)
    cell = {"loss": "huber", "seed": 0}
    show(CellEvent(kind="skipped", cell=cell, number=1, total=5))
    show(CellEvent(kind="start", cell=cell, number=2, total=5))
    now[0] = 200.0
    show(CellEvent(kind="done", cell=cell, number=2, total=5, seconds=100.0))
    now[0] = 210.0
    show(CellEvent(kind="failed", cell=cell, number=3, total=5, message="no\x1b[2J"))
    show(CellEvent(kind="done", cell=cell, number=4, total=5))
    show(CellEvent(kind="done", cell=cell, number=5, total=5))
    assert lines == [
        "[1/5] huber seed 0: done before",
        "[2/5] huber seed 0: done in 100 s (2 of 5, about 5 min left)",
        "[4/5] huber seed 0: done (4 of 5, about 37 s left)",
        "[5/5] huber seed 0: done",
    ]
    printed = capsys.readouterr().err
    assert printed.startswith("[3/5] huber seed 0: failed: no")
    assert "\x1b" not in printed
    assert "(3 of 5, about 2 min left)" in printed
