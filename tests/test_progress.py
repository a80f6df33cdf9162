"""Progress of long work: a line at intervals in a log, one line in place on a terminal."""

from __future__ import annotations

import io
import math
import re
import sys
import time

import pytest

from smoothiou.progress import Progress, duration, track


@pytest.fixture
def now(monkeypatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


class Terminal(io.StringIO):
    """A stderr that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", stderr := Terminal())
    return stderr


def test_a_log_gets_a_line_every_fifteen_seconds_and_the_forced_ones(now, capsys):
    with Progress("image", total=62) as progress:
        for second in (1, 14, 15, 16, 31):
            now[0] = 100 + second
            progress.update(second, text="loss 1", force=second == 16)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"image {done}/62  loss 1  ETA {62 - done} s" for done in (15, 16, 31)]


def test_without_an_interval_a_log_gets_the_forced_lines_alone(now, capsys):
    progress = Progress("cell", total=2, seconds=math.inf)
    now[0] += 1e6
    progress.update(1)
    progress.update(2, force=True)
    assert capsys.readouterr().err.splitlines() == ["cell 2/2  ETA 0 s"]


@pytest.mark.parametrize("label", ["huber seed 0  step", "smooth-iou[iou_weight=5]/huber[delta=0.5] seed 12  step"])
def test_at_eighty_columns_progress_is_one_line(monkeypatch, label):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(label, total=4000) as progress:
        progress.update(1234, text="loss 1.234  lr 1.0e-03  IoU 0.52", force=True)
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", written) if line.strip()]
    assert any("1234/4000" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)
    assert all("1234/4000" in line for line in lines if "0/?" not in line), lines  # no rest of a line beneath it


def test_a_terminal_shows_label_count_and_text_with_brackets_as_they_are(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with Progress("huber[delta=0.5]", total=4) as progress:
        progress.update(4, text="loss [1]")
        progress.print("done [2]")
    assert "huber[delta=0.5]" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "loss [1]" in terminal.getvalue()
    assert "done [2]\n" in terminal.getvalue()


def test_a_terminal_is_drawn_ten_times_a_second_at_most(now, monkeypatch):
    terminal = on_terminal(monkeypatch)
    with Progress("image", total=1000) as progress:
        for done in range(100):
            progress.update(done)
        assert terminal.getvalue() == ""


def test_a_transient_line_is_wiped_away(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with Progress("image", total=1, transient=True) as progress:
        progress.update(1)
    assert terminal.getvalue().rstrip().endswith("\x1b[2K")


def test_stdout_is_left_to_programs_while_a_bar_is_shown(monkeypatch, capsys):
    on_terminal(monkeypatch)
    with Progress("image", total=2) as progress:
        progress.update(2)
        print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_quiet_and_a_closed_stderr_show_nothing(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with Progress("image", total=1, quiet=True) as progress:
        progress.update(1, force=True)
        progress.print("done")
    assert terminal.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("image", total=1) as progress:
        progress.update(1, force=True)


def test_tracked_items_come_through_and_are_counted(monkeypatch):
    terminal = on_terminal(monkeypatch)
    assert list(track("abc", total=3, label="letter")) == ["a", "b", "c"]
    assert "3/3" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (185, "3:05 min"), (7800, "2:10 h")])
def test_durations_are_written_as_people_do(seconds, text):
    assert duration(seconds) == text


class Notebook(io.StringIO):
    """A stderr as ipykernel's."""

    __module__ = "ipykernel.iostream"


def shown(text: str) -> list[str]:
    """Return what stands on each line after carriage returns: later text over earlier."""
    lines = []
    for line in text.split("\n"):
        screen = ""
        for part in line.split("\r"):
            screen = part + screen[len(part) :]
        lines.append(screen.rstrip())
    return lines


def test_a_notebook_shows_one_line_that_is_written_over(now, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr := Notebook())
    with Progress("step", total=100) as progress:
        for step in range(1, 101):
            now[0] += 0.1
            progress.update(step, text="loss 12.5" if step < 50 else "loss 9")
    assert shown(stderr.getvalue()) == ["step 100/100  loss 9  ETA 0 s", ""]
    assert stderr.getvalue().count("\r") <= 20, "no more than two a second"


def test_in_a_notebook_a_transient_line_goes_and_a_printed_one_stays(now, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr := Notebook())
    with Progress("images", total=4, transient=True) as progress:
        progress.update(1, force=True)
        progress.print("a.jpg: no image")
        progress.update(4, force=True)
    assert shown(stderr.getvalue()) == ["a.jpg: no image", ""]
