"""A study on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoothiou.engine.checkpoint import load_checkpoint

from .conftest import TINY

pytest.importorskip("ray", reason="Ray is not installed: pip install 'smoothiou[ray]'")

pytestmark = pytest.mark.slow

LENGTH = ("--steps", "12", "--train.save_seconds", "0.5")
SAME = [word for key, word in zip(TINY[::2], TINY[1::2], strict=True) if key != "--steps" for word in (key, word)]

# A loss of one's own, which a worker must find too. While there is a file HOLD, cells last until they are killed.
LOSS = """
import pathlib, time
def held(pred, target, *, weights, anchors):
    if pathlib.Path("HOLD").exists():
        time.sleep(1)
    return (pred - target).abs().sum(1)
"""


class TwoNodes:
    """A cluster with one CPU on each of two nodes; they have folders of their own for temporary files."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.temporary = [folder / name for name in ("head", "second")]
        self.sockets = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # their names must be short
        self.cluster = Cluster()
        self.nodes = [self._add(path) for path in self.temporary]

    def _add(self, temporary: Path) -> Any:
        temporary.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(temporary))
            patch.setenv("RAY_TMPDIR", self.sockets)
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what others use of this machine's memory kills no task
            return self.cluster.add_node(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)

    @property
    def address(self) -> str:
        return self.cluster.address

    def kill_second(self) -> None:
        """Kill all processes of the second node, as a power cut would: by SIGKILL."""
        self.cluster.remove_node(self.nodes[1], allow_graceful=False)

    def close(self) -> None:
        for node in self.cluster.list_all_nodes():
            with contextlib.suppress(AssertionError):
                self.cluster.remove_node(node, allow_graceful=False)
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture
def two_nodes(tmp_path) -> Iterator[TwoNodes]:
    cluster = TwoNodes(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """The same study without Ray."""
    folder = tmp_path_factory.mktemp("local")
    started = start(folder)
    assert started.wait(timeout=300) == 0, (folder / "said").read_text()
    return folder / "STUDY"


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    (folder / "mine.py").write_text(LOSS)
    seeds = () if "--seeds" in words else ("--seeds", "0,1,2")
    study = ["compare", "shapes", "--losses", "mine:held", *seeds, "--resplit", *LENGTH, *SAME, "--out", "STUDY"]
    command = [sys.executable, "-m", "smoothiou", *study, *words]
    with (folder / "said").open("ab") as said, (folder / "printed").open("wb") as printed:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=said)


def same_numbers(one: Path, two: Path, *, cells: int) -> None:
    """Compare the cells of a study with those of another in everything but time and memory."""
    names = [path.name for path in (one / "cells").iterdir() if path.name[0] != "."]
    assert len(names) == cells
    for name in names:
        homes = [study / "cells" / name for study in (one, two)]
        for file in ("predictions.json", "localization.json"):
            assert homes[0].joinpath(file).read_bytes() == homes[1].joinpath(file).read_bytes(), (name, file)
        results = [json.loads((home / "result.json").read_text()) for home in homes]
        for result in results:
            for key in ("cost", "finished"):
                result.pop(key)
        assert results[0] == results[1], name
        rows = [list(csv.DictReader((home / "metrics.csv").read_text().splitlines())) for home in homes]
        for row in (row for table in rows for row in table):
            row.pop("seconds")
        assert rows[0] == rows[1], name
        first, second = (load_checkpoint(home / "last.ckpt")["model"] for home in homes)
        assert all((first[key] == second[key]).all() for key in first), name


def wait_until(true: Any, process: subprocess.Popen[bytes], said: Path, *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.02)


def cells_on(temporary: Path) -> list[Path]:
    """Return the cells that a node has in a folder of its own."""
    return list(temporary.glob("smoothiou-*/cells/*/last.ckpt"))


def test_a_node_is_killed_in_the_middle_and_no_cell_is_lost_or_doubled(two_nodes, local, tmp_path):
    study, said = tmp_path / "STUDY", tmp_path / "said"
    (tmp_path / "HOLD").touch()
    command = start(tmp_path, "--launcher", "ray", "--address", two_nodes.address)
    wait_until(lambda: len(list(study.glob("cells/*/last.ckpt"))) == 2, command, said)
    two_nodes.kill_second()
    (tmp_path / "HOLD").unlink()
    assert command.wait(timeout=240) == 0, said.read_text()
    lines = said.read_text().splitlines()
    assert any("2 machines, 2 cells at once; all machines see" in line for line in lines)
    assert lost(lines) == 1, lines
    assert ended(lines) == ["mine:held seed 0", "mine:held seed 1", "mine:held seed 2"], lines
    assert (tmp_path / "printed").read_text() == "STUDY/report.html\n"
    same_numbers(study, local, cells=3)
    cuts = json.loads((study / "plan.json").read_text())["cuts"]
    assert len({str(cut) for cut in cuts.values()}) == 3  # each seed has trained on photos of its own
    logs = [path.read_text() for path in study.glob("cells/*/log.txt")]
    assert sum("continued from step" in log for log in logs) == 1  # the lost cell, and only it
    assert not (study / ".shared").exists()


def test_without_a_shared_folder_what_is_stopped_or_lost_goes_on_too(two_nodes, local, tmp_path):
    study, said = tmp_path / "STUDY", tmp_path / "said"
    (tmp_path / "HOLD").touch()
    words = ("--seeds", "0,1", "--launcher", "ray", "--address", two_nodes.address, "--no-shared-folder")
    command = start(tmp_path, *words)
    wait_until(lambda: all(map(cells_on, two_nodes.temporary)), command, said)
    assert not list(study.glob("cells/*/last.ckpt"))  # all that is begun lies with the nodes
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=120) == 130, said.read_text()
    assert len(list(study.glob("cells/*/last.ckpt"))) == 2  # and is brought back
    assert not any(map(cells_on, two_nodes.temporary))

    command = start(tmp_path, *words)
    wait_until(lambda: cells_on(two_nodes.temporary[1]), command, said)
    two_nodes.kill_second()
    (tmp_path / "HOLD").unlink()
    assert command.wait(timeout=240) == 0, said.read_text()
    lines = said.read_text().splitlines()
    assert lost(lines) == 1, lines
    assert ended(lines) == ["mine:held seed 0", "mine:held seed 1"], lines
    same_numbers(study, local, cells=2)
    logs = [path.read_text() for path in study.glob("cells/*/log.txt")]
    assert all("continued from step" in log for log in logs)
    assert not list(two_nodes.temporary[0].glob("smoothiou-*"))


def lost(lines: list[str]) -> int:
    return sum("Ray has 1 machine, and had 2" in line for line in lines)


def ended(lines: list[str]) -> list[str]:
    return sorted(line.split("] ")[1].split(": done")[0] for line in lines if ": done" in line)
