"""Whatever a stranger's files are called, no output steers the terminal; and a stranger's run runs no code."""

from __future__ import annotations

import json
import os

import pytest
import tomli_w

from smoothiou.cli import MAX_MESSAGE, print_error
from smoothiou.detectors import build_detector
from smoothiou.engine.checkpoint import save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.evaluate import open_run
from smoothiou.errors import CheckpointError, DataError
from smoothiou.files import printable
from smoothiou.report.summary_lines import data_lines
from tests.cli.conftest import TINY

CLEAR = "\x1b[2J\x1b[31m"


def test_a_message_cannot_steer_the_terminal_nor_fill_it(capsys):
    print_error(DataError(f"{CLEAR}: no such file\x9b.", hint="a\rb\u202e"), as_json=True)
    out, err = capsys.readouterr()
    assert err == "smoothiou: \\x1b[2J\\x1b[31m: no such file\\x9b.\n  a\\rb\\u202e\n"
    assert json.loads(out)["error"]["message"].startswith(CLEAR)  # JSON has its own way of saying it
    assert "\x1b" not in out
    print_error(DataError("x" * 10**6), as_json=False)
    assert len(capsys.readouterr().err) < MAX_MESSAGE + 100


def test_notes_and_places_of_faults_cannot_steer_the_terminal():
    facts = {
        "name": "d", "split": "train", "format": "voc", "notes": [f"left out: {CLEAR}"],
        "counts": {"images": 1, "boxes": 1, "difficult": 0, "crowd": 0, "dropped": 0, "images_without_boxes": 0,
                   "faults": {"overhang": 1}},
        "faults": [{"kind": "overhang", "where": f"{CLEAR}.xml", "message": "", "drops": False}],
    }  # fmt: skip
    lines = data_lines({"train": facts}).split("\n")
    assert len(lines) == 3
    assert all(printable(line) for line in lines)


def test_a_data_set_of_steering_names_ends_with_one_plain_sentence(smoothiou, tmp_path):
    root = tmp_path / f"{CLEAR}data"
    root.mkdir()
    (root / f"{CLEAR}.xml").write_text("<annotation/>")
    result = smoothiou("train", root.name, "--out", "RUN", *TINY)
    assert result.returncode == 3
    assert result.stdout == ""
    assert "\x1b" not in result.stderr
    assert "[2J" in result.stderr


@pytest.fixture
def stranger(tmp_path):
    """A run folder whose settings name a loss that would run a command."""
    settings = {
        "data.path": "shapes", "model.name": "nano", "model.min_size": 64, "model.max_size": 64, "train.device": "cpu",
        "train.precision": "fp32", "loss.name": f"subprocess:Popen[args=touch {tmp_path}/ran,shell=true]",
    }  # fmt: skip
    config = RunConfig().replace(settings)
    model = build_detector("nano", num_classes=1, loss="huber", min_size=64, max_size=64)
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps(config.nested()))
    save_checkpoint(folder / "last.ckpt", {"model": model.state_dict(), "classes": ["a"], "step": 1})
    return folder


def test_opening_a_stranger_s_run_imports_no_loss(stranger, tmp_path):
    opened = open_run(stranger, checkpoint="last", device=None)
    assert opened.classes == ("a",)
    assert opened.config.loss.name.startswith("subprocess:")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("classes", [[CLEAR], ["a\nb"], [7], [], 7, "a", None])
@pytest.mark.parametrize("step", [1])
def test_classes_that_are_no_names_are_refused(stranger, classes, step):
    model = build_detector("nano", num_classes=1, loss="huber", min_size=64, max_size=64)
    save_checkpoint(stranger / "last.ckpt", {"model": model.state_dict(), "classes": classes, "step": step})
    with pytest.raises(CheckpointError, match="class names") as caught:
        open_run(stranger, checkpoint="last", device=None)
    assert printable(str(caught.value))


def test_images_to_predict_that_are_no_images_are_refused_and_never_hang(stranger, tmp_path):
    from smoothiou.engine.predict import predict_images

    (tmp_path / "photos").mkdir()
    os.mkfifo(tmp_path / "photos" / "a.jpg")
    for images in ("photos", "photos/a.jpg"):
        with pytest.raises(DataError, match=r"a.jpg"):
            predict_images(stranger, [tmp_path / images], out=tmp_path / "out")
