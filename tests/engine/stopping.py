"""A training that gets SIGTERM in the middle of a step."""

from __future__ import annotations

import signal

import pytest

from smoothiou.engine import training_state as training


def signal_in_step(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Send SIGTERM in a step, counted from 1 over all trainings that follow, and return the steps as they come."""
    statistics, steps = training.box_statistics, list[int]()

    def interrupted(model):
        steps.append(len(steps) + 1)
        if steps[-1] == step:
            signal.raise_signal(signal.SIGTERM)
        return statistics(model)

    monkeypatch.setattr(training, "box_statistics", interrupted)
    return steps
