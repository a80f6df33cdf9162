"""Long work says how far it is, once in a while in a log and in one place on a terminal."""

from __future__ import annotations

import io
import math
import sys
import time

import pytest

from smoothiou.progress import LiveLine, clock


@pytest.fixture
def now(monkeypatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


class Terminal(io.StringIO):
    """A stderr that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_fifteen_seconds_and_the_forced_ones(now, capsys):
    with LiveLine() as line:
        for second in (1, 14, 15, 16, 31):
            now[0] = 100 + second
            if line.is_due(forced=second == 16):
                line.show(f"at {second}", share=0.5)
    assert capsys.readouterr().err == "at 15\nat 16\nat 31\n"


def test_without_an_interval_a_log_gets_the_forced_lines_alone(now):
    line = LiveLine(seconds=math.inf)
    now[0] += 1e6
    assert not line.is_due()
    assert line.is_due(forced=True)


def test_a_terminal_has_one_line_that_a_longer_one_is_wiped_from(now, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with LiveLine() as line:
        assert not line.is_due(), "ten times a second at most"
        now[0] += 0.25
        assert line.is_due()
        line.show("long text", share=0.25)
        line.show("short")
    bar = "[####            ] "
    assert terminal.getvalue() == f"\r{bar}long text\rshort{' ' * (len(bar) + 4)}\n"


def test_a_line_that_does_not_stay_is_wiped_away(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with LiveLine(stays=False) as line:
        line.show("text")
    assert terminal.getvalue() == "\rtext\r    \r"


def test_a_kept_line_takes_the_place_of_the_live_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with LiveLine() as line:
        line.show("at work")
        line.keep("done")
    assert terminal.getvalue() == "\rat work\rdone   \n"


def test_quiet_is_quiet(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with LiveLine(quiet=True) as line:
        assert not line.is_due(forced=True)
        line.keep("done")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (185, "3:05 min"), (7800, "2:10 h")])
def test_durations_are_written_as_people_do(seconds, text):
    assert clock(seconds) == text
