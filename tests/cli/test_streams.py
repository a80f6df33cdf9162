"""Streams that are closed, full or of few letters, and an environment that is nobody's: a sentence, no traceback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from smoothiou.launch import Launch, launched
from tests.data.doctor_sets import voc

COMMAND = f"{shlex.quote(sys.executable)} -m smoothiou"


def shell(words, tmp_path, **environment):
    """Run a command by a shell, for its redirections."""
    full = {**os.environ, "COLUMNS": "120", **environment}
    return subprocess.run(
        ["sh", "-c", words], cwd=tmp_path, env=full, capture_output=True, text=True, errors="replace", timeout=60
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("words", "code"), [("config recipes", 0), pytest.param("config shoow --json", 2, marks=pytest.mark.slow)]
)
def test_a_closed_stream_changes_no_exit_code(tmp_path, closed, words, code):
    result = shell(f"{COMMAND} {words} {closed}", tmp_path)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert ("smoothiou:" in result.stderr) == (code != 0 and "2>&-" not in closed)


def test_files_that_are_written_get_nothing_of_a_closed_stream(tmp_path):
    page = tmp_path / "page.html"
    result = shell(f"{COMMAND} doctor shapes --data.images 4 --data.size 32 --html page.html >&- 2>&-", tmp_path)
    assert result.returncode == 0
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_letters_that_a_stream_has_not_are_spelt_out(tmp_path, encoding):
    (tmp_path / "\u0142\u00f3\u017c").mkdir()
    result = shell(f"{COMMAND} doctor \u0142\u00f3\u017c", tmp_path, PYTHONIOENCODING=encoding)
    assert result.returncode == 3
    assert "\\u0142" in result.stderr
    result = shell(
        f"{COMMAND} doctor shapes --data.images 4 --data.size 32 --fix \u0142", tmp_path, PYTHONIOENCODING=encoding
    )
    assert "Traceback" not in result.stderr
    assert "UnicodeEncodeError" not in result.stderr


def test_a_file_name_that_is_no_utf_8_stands_in_a_page(tmp_path):
    root = voc(tmp_path / "voc")
    try:
        (root / "JPEGImages" / os.fsdecode(b"caf\xe9.jpg")).write_text("no image")
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    result = shell(f"{COMMAND} doctor voc --html page.html", tmp_path)
    assert result.returncode in (0, 3)
    assert "fault of smoothiou" not in result.stderr
    assert "caf\\udce9.jpg" in (tmp_path / "page.html").read_text()


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")


@needs_full
@pytest.mark.parametrize("words", ["config recipes", "--help", "doctor nowhere --json"])
def test_a_full_disk_under_stdout_is_called_so(tmp_path, words):
    result = shell(f"{COMMAND} {words} >/dev/full", tmp_path)
    assert result.returncode == (3 if "nowhere" in words else 1)
    assert "Traceback" not in result.stderr
    assert "fault of smoothiou" not in result.stderr
    assert "Exception ignored" not in result.stderr


@needs_full
def test_a_full_disk_under_stderr_stops_nothing(tmp_path):
    words = "doctor shapes --data.images 4 --data.size 32 --json"
    result = shell(f"{COMMAND} {words} 2>/dev/full", tmp_path)
    assert json.loads(result.stdout)["data"] == "shapes"
    assert shell(f"{COMMAND} config shoow 2>/dev/full", tmp_path).returncode == 2


def test_a_deleted_working_folder_is_called_so(tmp_path):
    (tmp_path / "gone").mkdir()
    result = shell(f"cd gone && rmdir ../gone && {COMMAND} doctor data", tmp_path)
    assert "Traceback" not in result.stderr
    assert result.returncode in (2, 3)
    for command in ("losses", "config recipes"):  # the first loads torch, which ends a process in such a folder
        result = shell(f"mkdir x && cd x && rmdir ../x && {COMMAND} {command}", tmp_path)
        assert result.returncode == 2
        assert "working folder" in result.stderr


@pytest.mark.parametrize(
    "environment",
    [{"RANK": ""}, {"RANK": "abc"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": ""}, {"RANK": "-1"}, {"RANK": "7"}],
)
def test_no_command_of_one_process_minds_what_launchers_left(smoothiou, environment):
    result = smoothiou("config", "shoow", "--json", **environment)
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RANK": "abc"}, "RANK"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({"LOCAL_RANK": "1.5"}, "LOCAL_RANK"),
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR"),
        ({"RANK": "3"}, "WORLD_SIZE"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK"),
        ({"RANK": "-1"}, "RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "abc"}, "MASTER_PORT"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "99999"}, "MASTER_PORT"),
    ],
)
def test_a_training_names_the_variable_that_is_wrong(smoothiou, environment, named):
    result = smoothiou(
        "train", "shapes", "--recipe", "quick", "--data.images", 3, "--steps", 1, "--device", "cpu", **environment
    )
    assert result.returncode == 2, result.stderr
    assert named in result.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch()),
        ({"RANK": "", "WORLD_SIZE": " "}, Launch()),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, Launch(1, 1, 2)),
    ],
)
def test_what_torchrun_says_is_read(monkeypatch, environment, expected):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected


@pytest.mark.parametrize("seconds", [0.1, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.2))])
def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(tmp_path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-m", "smoothiou", "doctor", "shapes"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if "__main__.py" in errors:  # else it came while Python itself started
        assert "Traceback" not in errors, errors


@pytest.mark.slow
def test_sigterm_ends_a_process_that_waits_for_the_others(tmp_path):
    waiting = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    process = subprocess.Popen(
        [sys.executable, "-m", "smoothiou", "train", "shapes", "--steps", "1", "--device", "cpu", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, **waiting},
        stderr=subprocess.PIPE,
    )
    time.sleep(20)  # until torch looks for rank 0, where nobody listens
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode != 0
