"""Two processes are one training: what torchrun starts twice learns, says and leaves what one process would."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from tests.engine.several import train_all

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of torch has no gloo backend")

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SIZES = ((64, 48), (48, 64), (80, 40), (56, 56), (64, 40), (40, 72), (48, 48))
CASES = {
    "huber": {"loss.name": "huber"},
    "giou": {"loss.name": "giou"},
    "batch": {"loss.name": "smooth-iou"},
    "box": {"loss.name": "smooth-iou[lam=box]"},
    "image": {"loss.name": "smooth-iou[lam=image]"},
    "ema": {"loss.name": "smooth-iou[lam=ema]"},
    "number": {"loss.name": "smooth-iou[lam=0.25]"},
    "three images, val split": {"loss.name": "smooth-iou", "train.batch_size": 3, "train.eval_every": 2},
    "dropout": {"loss.name": "huber", "model.keep": 0.5},
}


def write_split(folder: Path, split: str, count: int) -> None:
    """Write images of several sizes, two boxes in each but none in every third, which is a process's whole share."""
    draw = np.random.default_rng(len(split) + count)
    images, boxes = [], []
    (folder / split).mkdir(parents=True)
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        pixels = draw.integers(0, 90, (height, width, 3), dtype=np.uint8)
        for place in range(0 if number % 3 == 0 else 2):
            x, y = 4 + 18 * place, 5 + 9 * place
            pixels[y : y + 16, x : x + 14] = (200, 60 * place, 40)
            boxes.append({
                "id": len(boxes) + 1, "image_id": number + 1, "category_id": place + 1, "bbox": [x, y, 14, 16],
                "area": 224, "iscrowd": 0,
            })  # fmt: skip
        Image.fromarray(pixels).save(folder / split / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": width, "height": height})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    (folder / f"{split}.json").write_text(json.dumps(content))


def settings_of(data: Path) -> dict[str, object]:
    return {
        "data.path": str(data), "data.format": "coco", "model.min_size": 48, "model.max_size": 64, "train.steps": 3,
        "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
        "optim.name": "sgd", "optim.lr": 0.002, "eval.batch_size": 2,
    }  # fmt: skip


def together(words: Sequence[object], folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run two processes of these words."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{folder}", "NO_COLOR": "1", **changes}
    return subprocess.run(
        [*TORCHRUN, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 7), ("val", 5), ("test", 5)):
        write_split(folder, split, count)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """Every case in one process (`one`) and in two (`two`), and weights of one measured by two (`measured.json`)."""
    folder = tmp_path_factory.mktemp("trained")
    cases = {name: {**settings_of(data), **own} for name, own in CASES.items()}
    threads = torch.get_num_threads()
    train_all(cases, folder / "one")
    torch.set_num_threads(threads)
    script = Path(__file__).with_name("several.py")
    ran = together(
        [script, json.dumps(cases), folder / "two", folder / "one" / "batch", folder / "measured.json"], folder
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_losses_lambda_and_weights_are_those_of_one_process(case, trained):
    one, two = rows_of(trained / "one" / case), rows_of(trained / "two" / case)
    assert len(one) == len(two) == 3
    assert ("roi_lambda" in one[0]) == ("smooth-iou" in str(CASES[case]["loss.name"]))
    for ours, theirs in zip(one, two, strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"seconds"}:
            assert theirs[key] == pytest.approx(ours[key], rel=1e-3, abs=1e-5, nan_ok=True), (ours["step"], key)
    first, second = (torch.load(trained / name / case / "last.ckpt", weights_only=True) for name in ("one", "two"))
    for key, value in first["model"].items():
        torch.testing.assert_close(second["model"][key], value, rtol=1e-3, atol=2e-5, msg=lambda text, k=key: k + text)
    for stage, own in first["box_loss"].items():
        for key, value in own.items():
            torch.testing.assert_close(second["box_loss"][stage][key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_process_without_positives_took_part(trained):
    # Every third image has no box: of two processes with one image each, one then has no positive in either stage.
    positives = [row["roi_positives"] for row in rows_of(trained / "two" / "batch")]
    assert positives == [row["roi_positives"] for row in rows_of(trained / "one" / "batch")]
    from smoothiou.engine.seeding import Batches

    draws = Batches(images=7, batch_size=2, seed=0, flip=0.5, start=0, steps=3)
    with_boxes = [[draw.index % 3 > 0 for draw in draws.batch(step)] for step in range(3)]
    assert [True, False] in with_boxes or [False, True] in with_boxes


@pytest.mark.slow
def test_evaluation_in_shares_gives_every_image_once_and_the_same_bits(trained):
    found = json.loads((trained / "measured.json").read_text())
    assert found["predictions"] == json.loads((trained / "one" / "batch" / "predictions.json").read_text())
    assert found["predictions"]
    images = json.loads((trained / "one" / "batch" / "localization.json").read_text())["images"]
    assert json.loads(json.dumps(found["images"])) == images
    assert len(images) == 5
    assert found["AP"] == json.loads((trained / "one" / "batch" / "result.json").read_text())["metrics"]["AP"]


def words_for(data: Path, **changes: object) -> list[object]:
    settings = {**settings_of(data), **changes}
    path = settings.pop("data.path")
    return ["train", path, "--out", "RUN", *(word for key, value in settings.items() for word in (f"--{key}", value))]


@pytest.mark.slow
def test_one_process_speaks_and_writes(data, tmp_path):
    ran = together(["-m", "smoothiou", *words_for(data), "--json"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["loss"] == "smooth-iou"
    assert json.loads((tmp_path / "RUN" / "manifest.json").read_text())["processes"] == 2
    assert ran.stderr.count("continued from") == 0
    assert sum("doctor" in line for line in ran.stderr.splitlines()) <= 1
    again = together(["-m", "smoothiou", *words_for(data)], tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "RUN\n"
    assert again.stderr.count("done before") == 1


LOSS = """
import os, signal, time
calls = 0
def loss(pred, target, *, weights, anchors):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and calls == 5:
        {act}
    return ((pred - target) ** 2).sum(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "Another of the 2 processes has ended without a word."),
        ("raise ValueError('no such luck')", "Process 1 of 2 failed: ValueError: no such luck"),
        ("time.sleep(12)", "Another of the 2 processes did not answer within 4 s."),
    ],
    ids=["killed", "failed", "hanging"],
)
def test_a_process_that_is_lost_ends_the_job_with_a_sentence(act, said, data, tmp_path):
    (tmp_path / "mine.py").write_text(LOSS.format(act=act))
    began = time.monotonic()
    changes = {"loss.name": "mine:loss", "train.steps": 50, "train.wait_seconds": 4}
    ran = together(["-m", "smoothiou", *words_for(data, **changes)], tmp_path)
    assert ran.returncode != 0
    assert time.monotonic() - began < 120
    assert ran.stdout == ""
    if "SIGKILL" in act and "smoothiou: Interrupted." in ran.stderr:
        # torchrun saw the death before process 0 did, and told it to end: no fault of its own, but a way on.
        assert "Give the same command again to continue." in ran.stderr
        assert "Signal 9 (SIGKILL) received" in ran.stderr
        return
    assert f"smoothiou: {said}" in ran.stderr, ran.stderr
    assert said in (tmp_path / "RUN" / "error.txt").read_text()


@pytest.mark.slow
def test_sigterm_stops_all_after_the_same_step_saved(data, tmp_path):
    words = ["-m", "smoothiou", *words_for(data, **{"train.steps": 5000})]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*TORCHRUN, *map(str, words)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as job:
        rows = tmp_path / "RUN" / "metrics.csv"
        deadline = time.monotonic() + 120
        while not (rows.is_file() and rows.read_text().count("\n") > 4) and time.monotonic() < deadline:
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=120)
    assert job.returncode != 0
    assert said.count("Stopped after step") == 1, said
    step = int(said.split("Stopped after step ")[1].split()[0])
    saved = torch.load(tmp_path / "RUN" / "last.ckpt", weights_only=True)
    assert saved["step"] == step
    assert len(rows_of(tmp_path / "RUN")) == step


APART = """
import os, sys
os.makedirs(os.environ["RANK"], exist_ok=True)
os.chdir(os.environ["RANK"])
from smoothiou.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_machines_that_see_other_run_folders_do_not_go_on_from_other_steps(trained, data, tmp_path):
    (tmp_path / "apart.py").write_text(APART)
    shutil.copytree(trained / "two" / "batch", tmp_path / "0" / "RUN")
    (tmp_path / "0" / "RUN" / "done").unlink()
    ran = together([tmp_path / "apart.py", *words_for(data, **CASES["batch"])], tmp_path)
    assert ran.returncode != 0
    assert "Of the processes one would go on from step 0, another from step 3." in ran.stderr


def test_fewer_images_than_processes_are_refused(data, tmp_path):
    ran = together(["-m", "smoothiou", *words_for(data, **{"train.batch_size": 1})], tmp_path)
    assert ran.returncode != 0
    assert "train.batch_size: 1 images are too few for 2 processes." in ran.stderr


LEAVING = """
import atexit
import torch.distributed as dist
atexit.register(lambda: print("a group" if dist.is_initialized() else "no group", flush=True))  # the last to be called
from smoothiou.engine.devices import choose_place
from smoothiou.engine.distributed import join_processes, said_by_rank_0
place = choose_place("cpu", "fp32", join=True)
join_processes(place, wait_seconds=20)
assert said_by_rank_0(place.rank == 0, place)
"""


def test_a_process_leaves_the_group_before_python_ends(tmp_path):
    # Else torch's threads may find no interpreter: "terminate called without an active exception", exit code -6.
    (tmp_path / "leaving.py").write_text(LEAVING)
    ran = together(["leaving.py"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split("\n")[:2] == ["no group", "no group"]
