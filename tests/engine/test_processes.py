"""Two processes that torchrun starts are one training: they train, evaluate, resume, and name the one that failed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.engine import distributed
from smoothiou.engine.devices import Placement
from smoothiou.engine.seeding import Batches
from tests.engine.several import train_all
from tests.engine.tiny import needs_gloo

pytestmark = needs_gloo

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SIZES = ((64, 48), (48, 64), (80, 40), (56, 56), (64, 40), (40, 72), (48, 48))
CASES = {
    "batch": {"loss.name": "smooth-iou", "train.eval_every": 2},
    "ema": {"loss.name": "smooth-iou[lam=ema]", "model.roi_dropout": 0.5},
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
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{folder}",
        "NO_COLOR": "1",
        **changes,
    }
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
def test_lambda_and_statistics_are_those_of_all_processes(case, trained):
    one, two = rows_of(trained / "one" / case), rows_of(trained / "two" / case)
    assert len(one) == len(two) == 3
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        if case == "batch":  # Algorithm 1: lambda is the mean IoU of all positives, whichever process they are in
            for stage in ("rpn", "roi"):
                lam, iou = second[f"{stage}_lambda"], second[f"{stage}_mean_iou"]
                assert lam == pytest.approx(iou if second[f"{stage}_positives"] else 0.0, rel=1e-4)
    saved = torch.load(trained / "two" / case / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in saved["model"].values())
    assert saved["place"]["processes"] == 2


@pytest.mark.slow
def test_a_process_without_positives_took_part(trained):
    # Every third image has no box: of two processes with one image each, one then has no positive in either stage.
    draws = Batches(images=7, batch_size=2, seed=0, flip=0.5, start=0, steps=3)
    with_boxes = [[draw.index % 3 > 0 for draw in draws.batch(step)] for step in range(3)]
    assert [True, False] in with_boxes or [False, True] in with_boxes
    assert all(row["loss"] > 0 for row in rows_of(trained / "two" / "batch"))


@pytest.mark.slow
def test_evaluation_in_shards_gives_every_image_once_and_the_same_bits(trained):
    measured = json.loads((trained / "measured.json").read_text())
    assert measured["predictions"] == json.loads((trained / "one" / "batch" / "predictions.json").read_text())
    assert measured["predictions"]
    images = json.loads((trained / "one" / "batch" / "localization.json").read_text())["images"]
    assert json.loads(json.dumps(measured["images"])) == images
    assert len(images) == 5
    assert measured["AP"] == json.loads((trained / "one" / "batch" / "result.json").read_text())["metrics"]["AP"]


def words_for(data: Path, **changes: object) -> list[object]:
    settings = {**settings_of(data), **changes}
    path = settings.pop("data.path")
    words = (word for key, value in settings.items() for word in (f"--{key}", value))
    return ["train", path, "--out", "RUN", "--model", "nano", *words]  # without a recipe real photos take lite0


def test_rank_0_alone_prints_and_writes(data, tmp_path):
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


STOPPED = """
import os, signal
calls = 0
def loss(pred, target, *, weights, anchors):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and calls == 5 and os.environ.get("STOP"):
        os.kill(os.getpid(), signal.SIGTERM)
    return ((pred - target) ** 2).sum(1)
"""


@pytest.mark.slow
def test_sigterm_to_one_stops_all_after_the_same_step_and_a_resume_ends_with_the_same_bits(data, tmp_path):
    (tmp_path / "mine.py").write_text(STOPPED)
    words = ["-m", "smoothiou", *words_for(data, **{"loss.name": "mine:loss", "train.steps": 4})]
    stopped = together(words, tmp_path, STOP="1")
    assert stopped.returncode != 0
    assert stopped.stderr.count("Stopped after step 2 of 4") == 1, stopped.stderr
    assert torch.load(tmp_path / "RUN" / "last.ckpt", weights_only=True)["step"] == 2
    again = together(words, tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("continued from step 2") == 1
    whole = together([word if word != "RUN" else "WHOLE" for word in words], tmp_path)
    assert whole.returncode == 0, whole.stderr
    first, second = (torch.load(tmp_path / name / "last.ckpt", weights_only=True)["model"] for name in ("RUN", "WHOLE"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


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
    assert "step 0, another from step 3" in ran.stderr


@pytest.mark.slow
def test_a_batch_that_does_not_divide_among_the_processes_is_refused(data, tmp_path):
    ran = together(["-m", "smoothiou", *words_for(data, **{"train.batch_size": 3})], tmp_path)
    assert ran.returncode != 0
    assert "train.batch_size: expected a multiple of the 2 processes" in ran.stderr


LEAVING = """
import atexit
import sys
import torch.distributed as dist
atexit.register(lambda: sys.stdout.write("a group\\n" if dist.is_initialized() else "no group\\n"))  # called last
from smoothiou.engine.devices import choose_placement
from smoothiou.engine.distributed import broadcast, join_processes
placement = choose_placement("cpu", "fp32", distributed=True)
join_processes(placement, wait_seconds=20)
assert broadcast(placement.rank, placement) == 0
"""


@pytest.mark.slow
def test_a_process_leaves_the_group_before_python_ends(tmp_path):
    # Else torch's threads may find no interpreter: "terminate called without an active exception", exit code -6.
    (tmp_path / "leaving.py").write_text(LEAVING)
    ran = together(["leaving.py"], tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["no", "group"] * 2


def test_trained_batch_norms_are_synchronised_on_gpus_only(monkeypatch):
    monkeypatch.setattr(distributed, "DistributedDataParallel", lambda model: model)
    for device, kind in (("cuda", nn.SyncBatchNorm), ("cpu", nn.BatchNorm2d)):
        model = nn.Sequential(nn.BatchNorm2d(2), FrozenBatchNorm2d(2))
        names = list(model.state_dict())
        wrapped = distributed.distribute(model, Placement(torch.device(device), "fp32", "", rank=0, world_size=2))
        assert [type(module) for module in wrapped] == [kind, FrozenBatchNorm2d]
        assert list(wrapped.state_dict()) == names
