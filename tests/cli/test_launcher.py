"""The options of `compare --launcher ray`, and what is told while cells run; no Ray is needed."""

from __future__ import annotations

import sys
import time

import pytest

from smoothiou.cli.launcher import Teller, ray_options
from smoothiou.errors import ConfigError
from smoothiou.study import CellEvent, RayOptions

DEFAULT = {"jobs": 1, "address": None, "cpus": 1, "gpus": 0.0, "retries": 3, "shared": True}


def test_nothing_of_ray_is_needed_for_this_machine():
    assert ray_options("local", **DEFAULT) is None
    with pytest.raises(ConfigError, match="are of a Ray cluster"):
        ray_options("local", **{**DEFAULT, "address": "head:6379"})


def test_options_for_a_cluster():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'smoothiou[ray]'")
    given = {**DEFAULT, "cpus": 4, "gpus": 0.5, "shared": False}
    assert ray_options("ray", **given) == RayOptions(cpus=4, gpus=0.5, shared=False)
    with pytest.raises(ConfigError, match="--jobs 2: with --launcher ray the cluster decides"):
        ray_options("ray", **{**DEFAULT, "jobs": 2})


def test_without_ray_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as told:
        ray_options("ray", **DEFAULT)
    assert told.value.hint == "pip install 'smoothiou[ray]'"


def test_the_command_refuses_before_it_writes(smoothiou, tmp_path):
    result = smoothiou("compare", "shapes", "--gpus-per-cell", "1", "--out", "STUDY")
    assert result.returncode == 2
    assert "Give --launcher ray with them" in result.stderr
    assert not (tmp_path / "STUDY").exists()


def test_how_long_the_others_will_take_is_told(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines: list[str] = []
    tell = Teller(lines.append, starts=False)
    cell = {"loss": "huber", "seed": 0}
    tell(CellEvent(kind="skipped", cell=cell, number=1, total=5))
    tell(CellEvent(kind="start", cell=cell, number=2, total=5))
    now[0] = 200.0
    tell(CellEvent(kind="done", cell=cell, number=2, total=5, seconds=100.0))
    tell(CellEvent(kind="retried", cell=cell, number=3, total=5, message="its machine is lost (1 of 3)"))
    now[0] = 210.0
    tell(CellEvent(kind="failed", cell=cell, number=3, total=5, message="no\x1b[2J"))
    tell(CellEvent(kind="done", cell=cell, number=4, total=5))
    tell(CellEvent(kind="done", cell=cell, number=5, total=5))
    assert lines == [
        "[1/5] huber seed 0: done before",
        "[2/5] huber seed 0: done in 100 s (2 of 5, about 5 min left)",
        "[3/5] huber seed 0: retried: its machine is lost (1 of 3)",
        "[4/5] huber seed 0: done (4 of 5, about 37 s left)",
        "[5/5] huber seed 0: done",
    ]
    said = capsys.readouterr().err
    assert said.startswith("[3/5] huber seed 0: failed: no")
    assert "\x1b" not in said
    assert "(3 of 5, about 2 min left)" in said
