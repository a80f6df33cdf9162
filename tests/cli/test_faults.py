"""Kills, full disks, damaged files, hanging loaders: the same command again ends with what it would have ended with."""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from smoothiou.engine.checkpoint import load_checkpoint
from smoothiou.engine.seeding import Batches

from .processes import Command, run_command
from .test_bad_input import voc  # noqa: F401

# A run that saves after every step, watches its val split, and has a loss with a memory.
SETTINGS = {
    "--data.images": 12, "--data.size": 64, "--model.min_size": 64, "--model.max_size": 64, "--steps": 8,
    "--train.batch_size": 2, "--train.log_every": 1, "--train.eval_every": 3, "--train.save_seconds": 0.001,
    "--device": "cpu", "--train.precision": "fp32",
}  # fmt: skip
# What a run measures of its own time and memory.
TIMES = ("train_seconds", "seconds_per_step", "eval_seconds", "peak_memory_mb")


def words(**changes: object) -> list[object]:
    """Return the settings as options, some changed; the first underscore of a name stands for the dot."""
    changed = {f"--{key.replace('_', '.', 1)}": value for key, value in changes.items()}
    return [word for pair in {**SETTINGS, **changed}.items() for word in pair]


RUN = ("train", "shapes", "--loss", "smooth-iou[lam=ema]", "--out", "RUN", *words())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has happened to."""
    folder = tmp_path_factory.mktemp("whole")
    command = run_command(folder, *RUN)
    assert command.status == 0, command.stderr
    return folder / "RUN"


def contents(run: Path) -> dict[str, Any]:
    """Return all that a run leaves, but for the times and the memory that it measured of itself."""
    result = json.loads((run / "result.json").read_text())
    result["cost"] = {key: value for key, value in result["cost"].items() if key not in TIMES}
    result.pop("finished")
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    saves = {name: load_checkpoint(run / name) for name in ("last.ckpt", "best.ckpt")}
    for key in ("seconds", "watching"):
        saves["last.ckpt"].pop(key)
    files = {name: (run / name).read_text() for name in ("predictions.json", "localization.json", "config.toml")}
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return {"result": result, "rows": rows, "saves": flat(saves), "files": files}


def flat(content: Any, key: str = "") -> dict[str, Any]:
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    else:
        return {key: content.numpy().tobytes() if isinstance(content, torch.Tensor) else content}
    return {k: v for name, value in items for k, v in flat(value, f"{key}.{name}").items()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def wait_for_rows(command: Command, run: Path, rows: int) -> None:
    while not (run / "metrics.csv").is_file() or (run / "metrics.csv").read_text().count("\n") <= rows:
        assert command.status is None, command.stderr
        time.sleep(0.005)


@pytest.mark.slow
def test_kills_at_random_moments_of_training_and_saving_change_nothing(whole, tmp_path):
    moments, run, steps = random.Random(0), tmp_path / "RUN", []
    for rows in (1, 3, 5):
        command = Command(tmp_path, *RUN)
        wait_for_rows(command, run, rows)
        time.sleep(moments.uniform(0, 0.3))  # a step and its save take about 0.2 s
        command.kill()
        steps.append(load_checkpoint(run / "last.ckpt")["step"] if (run / "last.ckpt").exists() else 0)
    assert run_command(tmp_path, *RUN).status == 0
    assert steps == sorted(steps)
    assert steps[-1] >= 4
    assert contents(run) == contents(whole)
    assert names(run) == names(whole), "nothing half-written and no older save is left"


@pytest.mark.slow
def test_sigterm_to_the_whole_group_with_loaders_and_a_second_process_meanwhile(whole, tmp_path):
    run = (*RUN, "--train.workers", "2")
    first = Command(tmp_path, *run)
    wait_for_rows(first, tmp_path / "RUN", 2)
    first.signal_group(signal.SIGSTOP)
    second = run_command(tmp_path, *run)
    first.signal_group(signal.SIGCONT)
    first.signal_group(signal.SIGTERM)  # as a scheduler does: the loaders get it too
    assert second.status == 2
    assert f"process {first.pid} on {platform.node()}" in second.stderr
    assert first.wait() == 130, first.stderr
    assert run_command(tmp_path, *run).status == 0
    assert contents(tmp_path / "RUN")["saves"] == contents(whole)["saves"]
    assert contents(tmp_path / "RUN")["rows"] == contents(whole)["rows"]


@pytest.mark.slow
def test_loaders_of_a_killed_training_keep_nobody_out(tmp_path):
    run = (*RUN, "--train.workers", "2")
    command = Command(tmp_path, *run)
    wait_for_rows(command, tmp_path / "RUN", 1)
    loaders = children(command.pid)
    for loader in loaders:
        os.kill(loader, signal.SIGSTOP)  # so they cannot end by themselves
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    try:
        again = Command(tmp_path, *run)
        wait_for_rows(again, tmp_path / "RUN", 5)
        again.kill()
        assert "another process" not in again.stderr
    finally:
        for loader in loaders:
            os.kill(loader, signal.SIGKILL)


@pytest.mark.slow
def test_a_loader_that_hangs_is_given_up_with_the_option_named(tmp_path):
    changes = words(steps=400, train_eval_every=0, train_save_seconds=60, train_workers=2, train_load_seconds=1.5)
    run = ("train", "shapes", "--out", "RUN", *changes)
    command = Command(tmp_path, *run)
    wait_for_rows(command, tmp_path / "RUN", 1)
    loaders = children(command.pid)
    os.kill(loaders[0], signal.SIGSTOP)
    assert command.wait(60) == 1
    assert "train.load_seconds" in command.stderr
    assert "Traceback" not in command.stderr
    assert not any(Path(f"/proc/{loader}").exists() for loader in loaders)


@pytest.mark.slow
def test_a_loader_that_is_killed_is_told_in_words(tmp_path):
    run = (
        "train",
        "shapes",
        "--out",
        "RUN",
        *words(steps=400, train_eval_every=0, train_save_seconds=60, train_workers=2),
    )
    command = Command(tmp_path, *run)
    wait_for_rows(command, tmp_path / "RUN", 1)
    os.kill(children(command.pid)[0], signal.SIGKILL)
    assert command.wait(60) == 1
    assert re.search(r"loader process .*\n.*memory", command.stderr)
    assert "Traceback" not in command.stderr
    assert "loader process" in (tmp_path / "RUN" / "error.txt").read_text()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_disk_without_room_stops_in_words_and_the_same_command_continues(whole, tmp_path):
    command = Command(tmp_path, *RUN)
    wait_for_rows(command, tmp_path / "RUN", 3)
    command.kill()
    before = (tmp_path / "RUN" / "last.ckpt").read_bytes()
    full = run_command(tmp_path, *RUN, file_size=8_000_000)  # a save takes 32 MB
    assert full.status == 1, full.stderr
    assert re.search(r"\.ckpt: .*File too large", full.stderr)
    assert (tmp_path / "RUN" / "last.ckpt").read_bytes() == before
    assert not list((tmp_path / "RUN").glob(".*.part"))
    assert run_command(tmp_path, *RUN).status == 0
    assert contents(tmp_path / "RUN") == contents(whole)


@pytest.fixture
def read_only(tmp_path) -> Iterator[Path]:
    """A folder in which nothing can be written, by whoever runs the test."""
    folder = tmp_path / "folder"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("no rights to mount a read-only folder, and modes do not bind this user")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, read_only):
    for command in ("train", "compare"):
        refused = run_command(tmp_path, command, "shapes", "--out", read_only / "RUN", *words())
        assert refused.status == 1, refused.stderr
        assert f"{read_only}/RUN: " in refused.stderr
        assert "ree some" not in refused.stderr  # space is not what is missing


@pytest.mark.slow
def test_a_damaged_save_is_set_aside_and_the_one_before_is_used(whole, tmp_path):
    run, moments = tmp_path / "RUN", random.Random(1)
    command = Command(tmp_path, *RUN)
    wait_for_rows(command, run, 4)
    command.kill()
    last, previous = (load_checkpoint(run / name)["step"] for name in ("last.ckpt", "previous.ckpt"))
    assert 0 < previous <= last
    damaged = bytearray((run / "last.ckpt").read_bytes())
    damaged[moments.randrange(len(damaged) // 4, len(damaged) // 2)] ^= 1 << moments.randrange(8)
    (run / "last.ckpt").write_bytes(damaged)
    shutil.copytree(run, tmp_path / "both")

    again = run_command(tmp_path, *RUN)
    assert again.status == 0, again.stderr
    assert "last.ckpt.damaged" in again.stderr
    assert f"step {previous} of 8" in again.stderr
    assert (run / "last.ckpt.damaged").read_bytes() == damaged
    assert contents(run) == contents(whole)

    both = tmp_path / "both"
    (both / "previous.ckpt").write_bytes((both / "previous.ckpt").read_bytes()[:1_000_000])
    before = {path.name: path.read_bytes() for path in both.glob("*.ckpt")}
    other = ["both" if word == "RUN" else word for word in RUN]
    refused = run_command(tmp_path, *other)
    assert refused.status == 4, refused.stderr
    assert "both/last.ckpt" in refused.stderr
    assert "both/previous.ckpt" in refused.stderr
    assert {path.name: path.read_bytes() for path in both.glob("*.ckpt*")} == before

    torch.save({**load_checkpoint(whole / "last.ckpt"), "format": 99}, both / "last.ckpt")
    newer = run_command(tmp_path, *other)
    assert newer.status == 4
    assert "format 99" in newer.stderr
    assert "--overwrite" in newer.stderr


@pytest.mark.slow
def test_an_image_that_breaks_in_the_middle_of_an_epoch_is_named_and_repaired(voc, tmp_path):  # noqa: F811
    run = ("train", voc, "--out", "RUN", *words(steps=6, train_eval_every=0))
    draws = Batches(images=6, batch_size=2, seed=0, flip=0.5, start=0, steps=6)
    # Drawn in the third step for the first time: each image comes once in an epoch of three steps.
    image = voc / "JPEGImages" / f"i{draws.batch(2)[0].index}.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(image)
    good = image.read_bytes()
    image.write_bytes(good[: len(good) // 2])
    broken = run_command(tmp_path, *run)
    assert broken.status == 3, broken.stderr
    assert str(image) in broken.stderr
    assert "Traceback" not in broken.stderr
    image.write_bytes(good)
    again = run_command(tmp_path, *run)
    assert again.status == 0, again.stderr
    assert "step 2 of 6" in again.stderr


def test_a_study_is_worked_on_by_one_command_at_a_time(tmp_path, hold_elsewhere):
    with hold_elsewhere(tmp_path / "STUDY") as other:
        refused = run_command(tmp_path, "compare", "shapes", "--out", "STUDY", "--json", *words())
    assert refused.status == 2, refused.stderr
    assert f"process {other} on {platform.node()}" in refused.stderr
    assert json.loads(refused.out.read_text())["error"]["message"] in refused.stderr
    assert not (tmp_path / "STUDY" / "plan.json").exists()


@pytest.fixture
def hold_elsewhere() -> Callable[[Path], Any]:
    """Give a function that has another process hold the lock of a folder while a block runs."""
    code = (
        "import sys; from smoothiou.files import lock_folder\n"
        "with lock_folder(sys.argv[1]): print(flush=True); sys.stdin.read()"
    )

    @contextlib.contextmanager
    def holding(folder: Path) -> Iterator[int]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", code, str(folder)], text=True, **pipes) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "\n"
            yield process.pid
            process.kill()

    return holding


BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_study.py"


@pytest.mark.slow
def test_a_study_that_is_killed_three_times_loses_and_repeats_nothing(tmp_path):
    words = ["--kills", "3", "--seed", "3", "--steps", "5", "--out", str(tmp_path / "campaign")]
    result = subprocess.run([sys.executable, str(BENCHMARK), *words], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, (result.stdout, result.stderr)
    found = json.loads(result.stdout)
    assert found["kills"] == sum(found["moments"].values()) == 3
    assert found["cells"] >= 2
    assert not any(found[key] for key in ("lost", "doubled", "different", "left_over", "missing"))


@pytest.mark.slow
def test_the_campaign_sees_what_is_lost_done_twice_or_different(whole, tmp_path):
    spec = importlib.util.spec_from_file_location("kill_study", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    kill_study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_study)
    study = tmp_path / "killed"
    for name in ("a-seed0", "b-seed0"):
        shutil.copytree(whole, study / "cells" / name)
    campaign = kill_study.Campaign(argparse.Namespace(seed=0, out=tmp_path))
    campaign.inspect()
    assert list(kill_study.differences(study / "cells" / "a-seed0", whole)) == []
    assert (campaign.lost, campaign.doubled) == (set(), set())

    one, other = (study / "cells" / name for name in ("a-seed0", "b-seed0"))
    content = load_checkpoint(one / "last.ckpt")
    key = next(iter(content["model"]))
    content["model"][key][0] += 1e-6
    torch.save({**content, "seconds": 0.0}, one / "last.ckpt")
    rows = (one / "metrics.csv").read_text().splitlines()
    (one / "metrics.csv").write_text("\n".join(rows[:-1]))
    (other / "done").unlink()
    campaign.inspect()
    found = list(kill_study.differences(one, whole))
    assert f"a-seed0/last.ckpt: model.{key}" in found
    assert "a-seed0/metrics.csv: loss#7" in found
    assert not any("seconds" in line for line in found if line.startswith("a-seed0/last.ckpt"))
    assert (campaign.lost, campaign.doubled) == ({"b-seed0"}, {"a-seed0"})
